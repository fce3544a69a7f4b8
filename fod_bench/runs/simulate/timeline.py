"""A simulation as a drawing: a row for each worker, in the order of the nodes, and what it was at work on, by time."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from fod_bench.runs.simulate.executor import Span
from fod_bench.runs.simulate.simulate import Simulated
from fod_bench.text import escaped, format_seconds

_WIDTH, _LEFT, _TOP, _BOTTOM = 1200.0, 90.0, 70.0, 50.0
_TALLEST, _HEIGHT = 14.0, 900.0
"""Of a row; of all rows together, as far as each is a pixel tall at least."""
_COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#edc948", "#76b7b2", "#9c755f", "#ff9da7")
_SETS = "#bab0ac"
_TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 4 * 3600, 6 * 3600, 12 * 3600, 86400)


def timeline_svg(simulated: Simulated, title: str) -> str:
    """The drawing as SVG; pointing at a piece tells what it is."""
    rows = _rows(simulated.spans)
    tall = max(1.0, min(_TALLEST, _HEIGHT / max(1, len(rows))))
    height = _TOP + tall * len(rows) + _BOTTOM
    scale = _WIDTH / max(simulated.seconds, 1e-9)
    methods = list(dict.fromkeys(trial.settings.method for trial in simulated.trials.values()))
    colours = {method: _COLOURS[place % len(_COLOURS)] for place, method in enumerate(methods)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 20:g} {height:.1f}" font-family="sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(_LEFT, 20, title, 'font-size="15"'),
        *_legend(colours),
        *_axis(simulated.seconds, scale, height),
    ]
    for row, (node, spans) in enumerate(rows):
        top = _TOP + tall * row
        if row == 0 or rows[row - 1][0] != node:
            parts.append(
                f'<line x1="{_LEFT - 6:g}" x2="{_LEFT + _WIDTH:g}" y1="{top:.1f}" y2="{top:.1f}" stroke="#ddd"/>'
            )
            if tall * sum(other == node for other, _ in rows) >= 10:
                parts.append(_text(8, top + 11, node))
        parts += [_piece(span, simulated, colours, top, tall, scale) for span in spans]
    return "\n".join([*parts, "</svg>", ""])


def _rows(spans: Sequence[Span]) -> list[tuple[str, list[Span]]]:
    """Node and pieces of each row; workers that follow one another on a node share one."""
    workers: dict[int, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.since):
        workers.setdefault(span.worker, []).append(span)
    by_node: dict[str, list[list[Span]]] = {}
    for pieces in workers.values():  # by their first
        rows = by_node.setdefault(pieces[0].node, [])
        free = next((row for row in rows if row[-1].until <= pieces[0].since), None)
        if free is None:
            rows.append(list(pieces))
        else:
            free += pieces
    return [(name, row) for name in sorted(by_node, key=lambda name: (len(name), name)) for row in by_node[name]]


def _piece(span: Span, simulated: Simulated, colours: dict[str, str], top: float, tall: float, scale: float) -> str:
    trials = [simulated.trials[key] for key in span.keys] if span.training else []
    colour = colours[trials[0].settings.method] if trials else _SETS
    told = "; ".join(trial.name for trial in trials) or "features or images"
    told += f": {format_seconds(span.until - span.since)} on {span.node}, {span.share}"
    x, width = _LEFT + span.since * scale, max(0.3, (span.until - span.since) * scale - 0.3)
    inner = max(0.8, tall - (1.0 if tall > 4 else 0.2))
    return (
        f'<rect x="{x:.2f}" y="{top:.2f}" width="{width:.2f}" height="{inner:.2f}" fill="{colour}">'
        f"<title>{escape(escaped(told))}</title></rect>"
    )


def _legend(colours: dict[str, str]) -> list[str]:
    parts, x = [], _LEFT
    for name, colour in [*colours.items(), ("features, images", _SETS)]:
        parts.append(f'<rect x="{x:g}" y="33" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(x + 17, 43, name))
        x += 34 + 7 * len(name)
    return parts


def _axis(seconds: float, scale: float, height: float) -> list[str]:
    step = next((tick for tick in _TICKS if seconds / tick <= 12), 7 * 86400)
    parts = []
    for number in range(int(seconds / step) + 1):
        x = _LEFT + number * step * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP:g}" y2="{height - _BOTTOM:.1f}" stroke="#eee"/>')
        parts.append(_text(x, height - _BOTTOM + 18, format_seconds(number * step), 'text-anchor="middle"'))
    return parts


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(escaped(text))}</text>'
