"""What patches are correlated with, as Figure 4 shows it, beside the equations."""

from __future__ import annotations

import pytest
import torch

from fod_bench.methods.fod.correlations import correlations
from fod_bench.methods.fod.network import View
from tests.helpers.trial_builders import features, network


@pytest.mark.parametrize("view", ["patch", "intra", "inter", "full"])
def test_rows_are_those_of_the_attention(view: View) -> None:
    """Of the first layer, whose queries and keys are known, they are computed once more as the equations stand."""
    made, (given, reference) = network(view), features(batch=1)
    before = made(given, reference).reconstruction
    found = correlations(made, given, reference, [0, 7])
    assert set(found) == {"patch": set(), "full": {"intra", "inter"}}.get(view, {view})
    hidden = made.embed(given) + made.position
    known = {"intra": hidden}
    if made.ref_embed is not None:
        known["inter"] = made.ref_embed(reference) + made.position
    for kind, rows in found.items():
        assert rows.shape == (2, 2, 2, 12)  # layers, heads, patches, N
        torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]))
        branch = getattr(made.layers[0], kind)
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            query, key = branch.query(hidden)[0, [0, 7], part], branch.key(known[kind])[0, :, part]
            torch.testing.assert_close(rows[0, head], torch.softmax(query @ key.T / 2, -1).detach())
    torch.testing.assert_close(made(given, reference).reconstruction, before)  # nothing is watched any more


def test_references_of_one_position_count_together() -> None:
    made, (given, reference) = network("inter"), features(batch=1)
    several = reference.repeat_interleave(3, 1)
    rows, of_three = (correlations(made, given, each, [5])["inter"] for each in (reference, several))
    torch.testing.assert_close(of_three[0], rows[0])
