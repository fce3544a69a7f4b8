"""The job file as typed models: everything that is wrong with a job is found when one is made."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fod_bench.errors import StoreError, plain_message
from fod_bench.job.datasets import DatasetSpec, Limit
from fod_bench.job.resources import AUTO, Resources, auto_or
from fod_bench.job.settings import Given, Rows, check_rows, row_settings, setting_keys
from fod_bench.methods.settings import MethodSettings
from fod_bench.paper.tables import METHOD_TABLES, printed_tables
from fod_bench.records.record import KeepScores
from fod_bench.schema.fields import (
    Frozen,
    NonNegativeNumber,
    Number,
    PositiveWholeNumber,
    Seed,
    WholeNumber,
    home_expanded,
    shown,
    without_repeats,
)
from fod_bench.schema.problems import KeyPath, Problem, problems_of, refusal, unknown
from fod_bench.store import DEFAULT_STORE
from fod_bench.store.address import parse_address
from fod_bench.text import shortened

Priority = Annotated[WholeNumber, Field(ge=-1000, le=1000)]
_PACK: TypeAdapter[int] = TypeAdapter(PositiveWholeNumber)

DEFAULT_VARIANT = "FOD"
"""Name of the one row of a job without variants."""

MAX_ROWS = 20_000
"""More rows than this are taken for a slip in the grid."""

RESERVED_NAMES = ("all", "plain")
"""Words of `report --table`, which also takes numbers of tables, and names of jobs."""

OUTER_KEYS = (
    *("name", "description", "store", "resources", "priorities", "pack"),
    *("checkpoint_seconds", "lease_seconds", "keep_scores"),
)
"""Keys that say something of the run as a whole: those of an included job are without effect."""


class Job(Frozen):
    """A job: data sets × rows (variants × grid) × seeds, and the jobs it includes, each with its own."""

    name: str
    """Name of the job, of lower-case letters, digits, `_` and `-`; with a digest of its content it names the run. `all`, `plain`
    and numbers are taken: `report --table` has them for other tables."""
    description: str = ""
    """What the job is for."""
    store: str = DEFAULT_STORE
    """What keeps features, references, checkpoints and records: a folder, relative to the working directory, or a place in
    a bucket, `s3://bucket/prefix?endpoint=https://host:port&region=us-east-1`, all but the bucket optional. Never holds
    credentials: boto3 finds them in the environment or in `~/.aws`."""
    include: tuple[Job, ...] = ()
    """Other job files, by paths relative to this one, whose rows run along with its own. Every included job keeps its name,
    tables, data sets, settings, variants, grid, seeds and limits; the rest is the including job's."""
    datasets: Annotated[dict[str, DatasetSpec], Field(validate_default=True)] = {}  # noqa: RUF012 - pydantic copies it
    """Data sets by name; needed unless other jobs are included. Tables show the name; published numbers are found by the
    names `mvtec`, `btad`, `mvtec3d`."""
    limit_train: PositiveWholeNumber | None = None
    """Images to train on per category, for every data set without a `limit` of its own; all when left out."""
    limit_test: PositiveWholeNumber | None = None
    """Images to test on per category, for every data set without a `limit` of its own; all when left out."""
    settings: Given = Field(default_factory=dict)
    """What all rows have in common."""
    variants: dict[str, Given] = Field(default_factory=dict)
    """Rows of the table by name, each with what it sets differently; one row `FOD` when left out."""
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Keys of `settings`, each with a list of values: every variant runs with every combination."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(without_repeats)] = (3407,)
    """Seeds; every row runs once with each."""
    resources: Resources = Resources()
    """What one trial asks of the cluster; without effect on results but for float rounding. `auto` stands for `auto` under all its
    keys, and for `pack: auto` where no `pack` is given."""
    priorities: dict[str, Priority] = {}  # noqa: RUF012 - pydantic copies it
    """Whole numbers by the names of parts, this job or ones that it includes: trainings of the part with the larger number are
    begun first; 0 where none is given. Without effect on results."""
    pack: Literal["auto"] | int = 1
    """Trials that a worker trains together, sharing every step, where they differ in seed, category and such settings as their
    method allows only. The same results but for float rounding. Pays where a step by itself does not keep the device busy. `auto`:
    as many as make the job end soonest, by a measurement of some seconds when a run starts."""
    checkpoint_seconds: NonNegativeNumber = 10.0
    """Time between two checkpoints of a trial, in seconds that its steps and evaluations take; 0 writes one after every step."""
    lease_seconds: Annotated[Number, Field(ge=1)] = 60.0
    """Time without a sign of life after which another run may take over a trial; a quarter of it passes between two signs."""
    keep_scores: KeepScores = "selected"
    """Whether the scores of the test images are kept beside a record, so that metrics and figures can be made without a training:
    `selected` (of the epochs that are best on the test data, and of the last), `last`, or `none`. Without effect on results."""
    tables: Annotated[tuple[Annotated[WholeNumber, Field(ge=1, le=15)], ...], AfterValidator(without_repeats)] = ()
    """Tables of the paper that the job feeds, by number: each row those that print one of its name, or all where none does."""
    _written: dict[KeyPath, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _with_checked_rows(cls, data: Any, handler: ModelWrapValidatorHandler[Job]) -> Job:
        """A key without a value (`FOD:`, `grid:`) is one that was left out. Settings are checked by the methods that they are for,
        which the fields by themselves do not know; all faults are told together."""
        if not isinstance(data, dict):
            return handler(data)
        data = {key: value for key, value in data.items() if value is not None}
        if isinstance(data.get("variants"), dict):
            data["variants"] = {name: {} if given is None else given for name, given in data["variants"].items()}
        if data.get("resources") == AUTO:
            data.setdefault("pack", AUTO)
        rows = check_rows(data.get("settings", {}), data.get("variants", {}), data.get("grid", {}))
        checked = {"settings": rows.settings, "variants": rows.variants, "grid": rows.grid}
        try:
            job = handler({**data, **checked})
        except ValidationError as error:
            raise refusal("Job", [*rows.problems, *problems_of(error, Job, homes(), whole=True)]) from None
        if rows.problems:
            raise refusal("Job", rows.problems)
        return job

    @field_validator("pack", mode="plain")
    @classmethod
    def _auto_or_trials(cls, value: Any) -> Any:
        return auto_or(_PACK, value, "a whole number")

    @field_validator("name")
    @classmethod
    def _name_fit_for_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9_-]{1,80}", name):
            raise ValueError(f"{shortened(name)!r} should be 1 to 80 lower-case letters, digits, `_` and `-`")
        if name in RESERVED_NAMES or name.isdecimal():
            raise ValueError(
                f"{name!r} is taken: `--table {name}` of a report stands for something else; choose another name"
            )
        if name.startswith("-"):
            raise ValueError(f"{name!r} would be taken for an option of a command; begin with a letter, a digit or `_`")
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
    def _plain_dataset_names(cls, datasets: dict[str, DatasetSpec], info: ValidationInfo) -> dict[str, DatasetSpec]:
        if not datasets and info.data.get("include") == ():
            raise ValueError("missing; a job needs data sets, or other jobs under `include`")
        strange = [name for name in datasets if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]
        if strange:
            text = "the name of a data set should be of letters, digits, `_` and `-`"
            raise refusal("datasets", [Problem((name,), text) for name in strange])
        return datasets

    @field_validator("variants")
    @classmethod
    def _readable_variant_names(cls, variants: dict[str, Given]) -> dict[str, Given]:
        strange = [name for name in variants if not name or name != name.strip() or not name.isprintable()]
        if strange:
            text = "the name of a variant should be printable text without blanks around it"
            raise refusal("variants", [Problem((name,), text) for name in strange])
        return variants

    @model_validator(mode="after")
    def _every_row_holds(self) -> Job:
        rows = self.rows()
        problems = [*self._names_given_twice(), *self._priorities_of_nothing()]
        problems += self._tables_that_stay_empty([row for row, _ in rows]) if self.datasets else self._without_effect()
        if problems:
            raise refusal("Job", problems)
        return self

    def _names_given_twice(self) -> Iterator[Problem]:
        """Names that do not tell this job and the included ones apart."""
        seen: set[str] = set()
        for at, job in self._with_included():
            if job.name in seen:
                yield Problem((*at, "name"), f"another job of this run is called {job.name!r} too; rename one of them")
            seen.add(job.name)

    def _priorities_of_nothing(self) -> Iterator[Problem]:
        """Priorities of parts that there are not."""
        parts = [part.name for part in self.parts()]
        for name in self.priorities:
            if name not in parts:
                yield Problem(("priorities", name), unknown("part", name, parts))

    def _without_effect(self) -> Iterator[Problem]:
        """What a job that only includes others says of rows, which it has none of."""
        empty = check_rows({}, {}, {})
        defaults = {key: field.get_default(call_default_factory=True) for key, field in type(self).model_fields.items()}
        for key in ("settings", "variants", "grid", "seeds", "limit_train", "limit_test", "tables"):
            if getattr(self, key) != (empty.settings if key == "settings" else defaults[key]):
                text = "has no effect, since this job has no data sets of its own; write it in the included files"
                yield Problem((key,), text)

    def _tables_that_stay_empty(self, rows: list[str]) -> Iterator[Problem]:
        """Tables of the paper that no row on any data set of this job stands in."""
        for index, number in enumerate(self.tables):
            table = printed_tables()[number]
            if not {name.casefold() for name in self.datasets} & set(table.datasets):
                text = f"Table {number} is on {_or(table.datasets)}, and no data set of this job is called so"
                yield Problem(("tables", index), text)
            if number not in METHOD_TABLES and not {row.casefold() for row in rows} & set(table.rows):
                text = f"no row of this job is called as one of Table {number}: {', '.join(table.rows)}"
                yield Problem(("tables", index), text)

    def _with_included(self, at: KeyPath = ()) -> Iterator[tuple[KeyPath, Job]]:
        """This job and all that it includes, at any depth, each with its path."""
        yield at, self
        for index, included in enumerate(self.include):
            yield from included._with_included((*at, "include", index))

    def written_with(self, written: dict[KeyPath, Any]) -> Job:
        """This job, which remembers how values that came from variables were written."""
        self._written = written
        return self

    def with_store(self, store: str) -> Job:
        """This job with another store."""
        copy = self.model_copy(update={"store": store})
        copy._written = {path: value for path, value in self._written.items() if path != ("store",)}
        return copy

    @property
    def written(self) -> Mapping[KeyPath, Any]:
        """`{path: what the file has there}` of values that came from variables, and of lists that hold some."""
        return self._written

    def parts(self) -> list[Job]:
        """The jobs that have rows, each with its own: this one, unless it only includes others, and the included ones."""
        return [job for _, job in self._with_included() if job.datasets]

    def fed_tables(self) -> list[int]:
        """The tables of the paper that its parts feed, in order."""
        return sorted({number for part in self.parts() for number in part.tables})

    def tables_of(self, row: str) -> list[int]:
        """The tables of the paper that a row of its own stands in: of `tables` those that print one of its name, or all of them
        where none does."""
        printing = [
            number for number in self.tables if row.casefold() in map(str.casefold, printed_tables()[number].rows)
        ]
        return printing or list(self.tables)

    def dataset(self, name: str) -> DatasetSpec:
        """A data set of its own, with the job's limit where it has none."""
        spec = self.datasets[name]
        if spec.limit is not None or (self.limit_train is None and self.limit_test is None):
            return spec
        return spec.model_copy(update={"limit": Limit(train=self.limit_train, test=self.limit_test)})

    def rows(self) -> list[tuple[str, MethodSettings]]:
        """Label and setting of every row of its own: the variants in order, each with the grid's combinations in order.

        Raises:
            pydantic.ValidationError: settings that contradict each other; every contradiction is named once.
        """
        problems = [
            Problem(("grid", key), f"variant {name!r} sets `{key}` too; only one of the two can")
            for name, variant in self.variants.items()
            for key in self.grid
            if key in variant
        ]
        count = max(1, len(self.variants)) * math.prod(len(values) for values in self.grid.values())
        if count > MAX_ROWS:
            problems.append(Problem(("grid",), f"makes {count} rows; more than {MAX_ROWS} are taken for a slip"))
        if problems:
            raise refusal("Job", problems)

        given = Rows(self.settings, self.variants, self.grid)
        rows: list[tuple[str, MethodSettings]] = []
        troubled: dict[tuple[KeyPath, str], list[str]] = {}
        for label, name, combination in self._combinations():
            own = self.variants.get(name, {})
            try:
                rows.append((label, row_settings(given, name if name in self.variants else None, combination)))
            except ValidationError as error:
                for details in error.errors(include_url=False):
                    key = str(details["loc"][0])
                    path = ("grid",) if key in combination else ("variants", name) if key in own else ("settings",)
                    troubled.setdefault(((*path, *details["loc"]), plain_message(details)), []).append(label)
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
                chosen = [f"{key}={shown(value)}" for key, value in combination.items()]
                named = [name] if self.variants or not chosen else []
                yield ", ".join(named + chosen), name, combination


def homes() -> dict[str, str]:
    """Which mapping of the file a key belongs to."""
    return dict.fromkeys(setting_keys(), "settings") | dict.fromkeys(Job.model_fields, "")


def _or(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" or " if names[1:] else "") + names[-1]


def _named(labels: list[str]) -> str:
    more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
    return f"row {labels[0]!r}{more}"
