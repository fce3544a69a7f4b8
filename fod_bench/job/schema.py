"""The job file as typed models: everything that is wrong with a job is found when one is made."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from fod_bench.errors import StoreError
from fod_bench.job.fields import Frozen, NonNegativeNumber, Number, Seed, WholeNumber, home_expanded, without_repeats
from fod_bench.job.parts import DatasetSpec, Resources
from fod_bench.job.problems import KeyPath, Problem, describe, problems_of, refusal, unknown
from fod_bench.job.settings import DEFAULT_D_MODEL, SettingFields, Settings
from fod_bench.store.address import parse_address

DEFAULT_VARIANT = "FOD"
"""Name of the one row of a job without variants."""

MAX_ROWS = 100_000
"""More rows than this are taken for a slip in the grid."""


class Job(Frozen):
    """A job: data sets × rows (variants × grid) × seeds."""

    name: str
    """Name of the job, of lower-case letters, digits, `_` and `-`; with a digest of its content it names the run."""
    description: str = ""
    """What the job is for."""
    store: str = "results/store"
    """What keeps features, references, checkpoints and records: a folder, relative to the working directory, or a place in
    a bucket, `s3://bucket/prefix?endpoint=https://host:port&region=us-east-1`, all but the bucket optional. Never holds
    credentials: boto3 finds them in the environment or in `~/.aws`."""
    datasets: Annotated[dict[str, DatasetSpec], Field(min_length=1)]
    """Data sets by name. Tables show the name; published numbers are found by the names `mvtec`, `btad`, `mvtec3d`."""
    settings: SettingFields = SettingFields()
    """What all rows have in common."""
    variants: dict[str, SettingFields] = Field(default_factory=dict)
    """Rows of the table by name, each with what it sets differently; one row `FOD` when left out."""
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Keys of `settings`, each with a list of values: every variant runs with every combination."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(without_repeats)] = (3407,)
    """Seeds; every row runs once with each."""
    resources: Resources = Resources()
    """What one trial asks of the cluster; without effect on results."""
    checkpoint_seconds: NonNegativeNumber = 10.0
    """Time between two checkpoints of a running trial, in seconds; 0 writes one after every step."""
    lease_seconds: Annotated[Number, Field(ge=1)] = 60.0
    """Time without a sign of life after which another run may take over a trial; a quarter of it passes between two signs."""
    tables: Annotated[tuple[Annotated[WholeNumber, Field(ge=1, le=15)], ...], AfterValidator(without_repeats)] = ()
    """Tables of the paper that the job feeds, by number."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, data: Any) -> Any:
        """A key without a value (`FOD:`, `grid:`) is one that was left out."""
        if not isinstance(data, dict):
            return data
        data = {key: value for key, value in data.items() if value is not None}
        if isinstance(data.get("variants"), dict):
            data["variants"] = {name: {} if given is None else given for name, given in data["variants"].items()}
        return data

    @field_validator("name")
    @classmethod
    def _name_fit_for_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9_-]{1,80}", name):
            raise ValueError(f"{name!r} should be 1 to 80 lower-case letters, digits, `_` and `-`")
        return name

    @field_validator("store")
    @classmethod
    def _store_has_an_address(cls, store: str) -> str:
        try:
            parse_address(store)
        except StoreError as error:
            raise ValueError(str(error)) from None
        return home_expanded(store)

    @field_validator("datasets")
    @classmethod
    def _plain_dataset_names(cls, datasets: dict[str, DatasetSpec]) -> dict[str, DatasetSpec]:
        strange = [name for name in datasets if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]
        if strange:
            text = "the name of a data set should be of letters, digits, `_` and `-`"
            raise refusal("datasets", [Problem((name,), text) for name in strange])
        return datasets

    @field_validator("settings")
    @classmethod
    def _widths_laid_over_the_defaults(cls, settings: SettingFields) -> SettingFields:
        return settings.model_copy(update={"d_model": DEFAULT_D_MODEL | settings.d_model})

    @field_validator("variants")
    @classmethod
    def _readable_variant_names(cls, variants: dict[str, SettingFields]) -> dict[str, SettingFields]:
        strange = [name for name in variants if not name or name != name.strip() or not name.isprintable()]
        if strange:
            text = "the name of a variant should be printable text without blanks around it"
            raise refusal("variants", [Problem((name,), text) for name in strange])
        return variants

    @field_validator("grid", mode="plain")
    @classmethod
    def _grid_of_settings(cls, grid: Any) -> dict[str, tuple[Any, ...]]:
        if not isinstance(grid, dict):
            raise ValueError(f"should be a mapping of setting to list of values, not {describe(grid)}")
        problems: list[Problem] = []
        values = {key: tuple(_grid_values(key, given, problems)) for key, given in grid.items()}
        if problems:
            raise refusal("grid", problems)
        return values

    @model_validator(mode="after")
    def _every_row_holds(self) -> Job:
        self.rows()
        return self

    def rows(self) -> list[tuple[str, Settings]]:
        """Label and setting of every row: the variants in order, each with the grid's combinations in order.

        Raises:
            pydantic.ValidationError: settings that contradict each other; every contradiction is named once.
        """
        problems = [
            Problem(("grid", key), f"variant {name!r} sets `{key}` too; only one of the two can")
            for name, variant in self.variants.items()
            for key in self.grid
            if key in variant.model_fields_set
        ]
        count = max(1, len(self.variants)) * math.prod(len(values) for values in self.grid.values())
        if count > MAX_ROWS:
            problems.append(Problem(("grid",), f"makes {count} rows; more than {MAX_ROWS} are taken for a slip"))
        if problems:
            raise refusal("Job", problems)

        rows: list[tuple[str, Settings]] = []
        troubled: dict[tuple[KeyPath, str], list[str]] = {}
        for label, name, combination in self._combinations():
            own = self.variants[name].given() if name in self.variants else {}
            merged = {key: getattr(self.settings, key) for key in SettingFields.model_fields} | own | combination
            merged["d_model"] = self.settings.d_model | own.get("d_model", {}) | combination.get("d_model", {})
            try:
                rows.append((label, Settings.model_validate(merged)))
            except ValidationError as error:
                for details in error.errors(include_url=False):
                    key = str(details["loc"][0])
                    path = ("grid",) if key in combination else ("variants", name) if key in own else ("settings",)
                    troubled.setdefault(((*path, *details["loc"]), details["msg"]), []).append(label)
        if troubled:
            raise refusal(
                "Job", [Problem(path, f"{text} ({_named(labels)})") for (path, text), labels in troubled.items()]
            )
        return rows

    def _combinations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Label, variant and the grid's choice of every row."""
        for name in self.variants or (DEFAULT_VARIANT,):
            for values in itertools.product(*self.grid.values()):
                combination = dict(zip(self.grid, values, strict=True))
                chosen = [f"{key}={_shown(value)}" for key, value in combination.items()]
                named = [name] if self.variants or not chosen else []
                yield ", ".join(named + chosen), name, combination


def _grid_values(key: Any, given: Any, problems: list[Problem]) -> Iterator[Any]:
    """The checked values of one key of the grid; what is wrong is added to `problems`."""
    if key not in SettingFields.model_fields:
        problems.append(Problem((key,), unknown("setting", key, SettingFields.model_fields)))
    elif not isinstance(given, list | tuple):
        problems.append(Problem((key,), f"should be a list of values, not {describe(given)}; write [...]"))
    elif not given:
        problems.append(Problem((key,), "must not be an empty list"))
    else:
        seen: list[Any] = []
        for index, item in enumerate(given):
            try:
                value = getattr(SettingFields.model_validate({key: item}), key)
            except ValidationError as error:
                found = problems_of(error, SettingFields, {})
                problems.extend(Problem((key, index, *problem.path[1:]), problem.text) for problem in found)
                continue
            if value in seen:
                problems.append(Problem((key, index), f"{describe(value)} is given twice"))
            seen.append(value)
            yield value


def _shown(value: Any) -> str:
    """A grid's value in a row's label: `0.5`, `true`, `8+16`, `8:64+16:128`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "+".join(f"{key}:{item}" for key, item in value.items())
    if isinstance(value, tuple):
        return "+".join(str(item) for item in value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _named(labels: list[str]) -> str:
    more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
    return f"row {labels[0]!r}{more}"
