"""Finding what no run of a store needs. Changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fod_bench.errors import DamagedObjectError, FodBenchError
from fod_bench.records.claims import held_keys
from fod_bench.records.names import (
    FEATURES,
    IMAGES,
    Kind,
    claim_folder,
    is_first,
    is_plan,
    key_of,
    kind_of,
    manifest_name,
    record_name,
    run_folder,
    run_of,
    set_folder,
    state_name,
    trial_folder,
)
from fod_bench.records.run import RunPlan
from fod_bench.records.run_reader import RunReader, Runs, trained_keys
from fod_bench.records.upkeep.garbage import UPLOAD_SECONDS, Garbage, Heap, KeepsUploads
from fod_bench.records.upkeep.needs import Needs, needs_of
from fod_bench.records.upkeep.parts import by_key, manifest_parts, record_folder, record_of
from fod_bench.store import ObjectInfo, ObjectMissingError, Store

YOUNG_SECONDS = 3600.0
"""What is younger may be named by a run in a moment."""


def find_garbage(store: Store, keep: Collection[str] | None = None, older_than: float = YOUNG_SECONDS) -> Garbage:
    """Whatever no run of the store needs.

    Args:
        keep: run ids; other runs go as well, unless a driver is at work on them.
        older_than: seconds; what has an object younger than this is left alone.

    Raises:
        FodBenchError: what is needed cannot be told: a plan is damaged or gone.
        StoreError: the store cannot be read.
    """
    runs = RunReader(store).read()
    _check(store, runs)
    alive = {key for key, held in held_keys(store).items() if held}
    infos = list(store.list())
    if not infos:
        return Garbage()
    search = _Search(store, runs, keep, alive, infos, store.now() - older_than)
    garbage = search.garbage
    for heap in search.heaps():
        if max(info.modified for info in heap.objects) > search.limit:
            garbage.young += 1
        else:
            garbage.heaps.append(heap)
    if isinstance(store, KeepsUploads):
        garbage.uploads = store.abandon_uploads(UPLOAD_SECONDS, dry_run=True)
    return garbage


def _check(store: Store, runs: Runs) -> None:
    """Raises `FodBenchError` when what the runs need cannot be told."""
    for name, reason in runs.damaged.items():
        raise FodBenchError(
            f"{store.location(name)}: {reason}; what its run needs cannot be told, so nothing is deleted: delete it, or run "
            "its job again"
        )
    planned = {plan.run_id for plan in runs.plans}
    for driver in runs.drivers:
        if driver.alive and driver.state.run_id not in planned:
            raise FodBenchError(
                f"run {driver.state.run_id} is at work on {driver.state.process.host}, but its plan is gone from store "
                f"{store.uri}; what it needs cannot be told, so nothing is deleted"
            )


class _Search:
    """One look at a whole store."""

    def __init__(
        self,
        store: Store,
        runs: Runs,
        keep: Collection[str] | None,
        alive: set[str],
        infos: list[ObjectInfo],
        limit: float,
    ) -> None:
        self.store, self.runs, self.alive, self.limit = store, runs, alive, limit
        kinds: dict[Kind | None, list[ObjectInfo]] = {}
        for info in infos:
            kinds.setdefault(kind_of(info.name), []).append(info)
        self.kinds = kinds
        self.claims = by_key(kinds.get("claims", []))
        self.of_runs: dict[str, list[ObjectInfo]] = {}
        for info in [*kinds.get("runs", []), *kinds.get("states", [])]:
            self.of_runs.setdefault(run_of(info.name), []).append(info)
        self.kept = [plan for plan in runs.plans if keep is None or plan.run_id in keep or self._in_use(plan)]
        self.needs: Needs = needs_of(self.kept, store)
        self.why = "no run needs it" if keep is None else "no run that is kept needs it"
        # A plan that came after the others were read is not reckoned with.
        seen = runs.objects.union(info for info in infos if not is_plan(info.name))
        self.garbage = Garbage(unknown=kinds.get(None, []), seen=seen)

    def _in_use(self, plan: RunPlan) -> bool:
        """Whether a driver or worker is at work on the run, or was a moment ago."""
        return (
            any(driver.alive for driver in self.runs.of(plan.run_id))
            or any(info.modified > self.limit for info in self.of_runs.get(plan.run_id, []))
            or not self.alive.isdisjoint([*trained_keys(plan), *plan.features, *plan.images])
        )

    def heaps(self) -> Iterator[Heap]:
        """Everything that can go but for its age, runs first."""
        yield from self._of_runs()
        yield from self._of_trials()
        yield from self._of_sets()
        known = self.needs.trials | self.needs.features | self.needs.images
        for key, claims in self.claims.items():
            if key not in known | self.alive:
                yield _heap(claim_folder(key), self.why, claims, key)
        for info in self.kinds.get("probe", []):
            yield Heap(info.name, "left over from a probe", [info], "", info.name)

    def _of_runs(self) -> Iterator[Heap]:
        kept = {plan.run_id for plan in self.kept}
        for run_id, objects in self.of_runs.items():
            if run_id not in kept:
                planned = any(is_plan(info.name) for info in objects)
                why = "not of the jobs given" if planned else "a run without a plan"
                yield _heap(run_folder(run_id), why, sorted(objects, key=_order))
        states = {info.name: info for info in self.kinds.get("states", [])}
        for driver in self.runs.drivers:
            state = driver.state
            info = states.get(state_name(state.run_id, state.driver))
            if info is not None and not driver.alive and state.run_id in kept:
                yield Heap(info.name, "its driver has gone", [info], "", info.name)

    def _of_trials(self) -> Iterator[Heap]:
        beside: tuple[Kind, ...] = ("weights", "scores", "curves")
        parts: tuple[Kind, ...] = ("records", "failures", *beside, "checkpoints")
        for key, objects in by_key(info for kind in parts for info in self.kinds.get(kind, [])).items():
            around = trial_folder(key)
            if key in self.alive:
                continue
            if key not in self.needs.trials:
                yield _heap(around, self.why, sorted(objects, key=_order), key)
                continue
            results = [info for info in objects if kind_of(info.name) in beside]
            if not any(info.name == record_name(key) for info in objects):
                if key not in self.claims:  # a silent holder may still come back and commit
                    yield from self._stray(results, "", key, around, "no record stands for them")
                continue
            why = "the trial has its record"
            for kind in ("failures", "checkpoints"):
                done = [info for info in objects if kind_of(info.name) == kind]
                if done:
                    yield Heap(f"{around}{kind}", why, done, key, around)
            if key in self.claims:
                yield Heap(claim_folder(key).rstrip("/"), why, self.claims[key], key, around)
            if len({_folder(info.name) for info in results}) > 1:  # as a rule there is one: no record need be read
                yield from self._stray(results, self._folder_kept(key), key, around, "their claim was lost")

    def _folder_kept(self, key: str) -> str | None:
        name = record_name(key)
        try:
            return record_folder(record_of(name, self.store.get(name)))
        except (ObjectMissingError, DamagedObjectError):
            return None

    def _of_sets(self) -> Iterator[Heap]:
        named = {key for plan in self.runs.plans for key in (*trained_keys(plan), *plan.features, *plan.images)}
        strays = sorted(self.alive - named)
        if strays:
            self.garbage.notes.append(
                f"somebody is at work on {', '.join(strays)}, which no run names: features, images, masks and references are "
                "left alone"
            )
        if self.needs.untold:
            self.garbage.notes.append(
                f"run {', '.join(sorted(self.needs.untold))} is of an older version that does not tell its features: "
                "features and references are left alone; `fod-bench run` writes the plan anew"
            )
        told = not strays and not self.needs.untold
        yield from self._of_sets_in("features", FEATURES, self.needs.features, told)
        yield from self._of_sets_in("images", IMAGES, self.needs.images, told)
        single: dict[Kind, set[str]] = {"truth": self.needs.truth, "references": self.needs.references}
        for kind, needed in single.items():
            for info in self.kinds.get(kind, []) if told else ():
                if key_of(info.name) not in needed:
                    yield Heap(info.name, self.why, [info], "", info.name)

    def _of_sets_in(self, kind: Kind, root: str, needed: set[str], told: bool) -> Iterator[Heap]:
        """Sets of one kind; `told`: whether all that is needed is known."""
        for key, objects in by_key(self.kinds.get(kind, [])).items():
            around = set_folder(key, root)
            manifest = next((info.name for info in objects if info.name == manifest_name(key, root)), None)
            files = [info for info in objects if info.name != manifest]
            if key in self.alive:
                continue
            if key not in needed:
                if told:
                    yield _heap(around, self.why, sorted(objects, key=_order), key)
            elif manifest is None:
                if key in self.claims:
                    continue
                yield from self._stray(files, "", key, around, "no manifest stands for them")
            else:
                if key in self.claims:
                    yield Heap(claim_folder(key).rstrip("/"), f"the {kind} are whole", self.claims[key], key, around)
                if len({_folder(info.name) for info in files}) > 1:
                    yield from self._stray(files, self._files_kept(manifest), key, around, "their claim was lost")

    def _files_kept(self, manifest: str) -> str | None:
        try:
            return _folder(manifest_parts(manifest, self.store.get(manifest))[0])
        except (ObjectMissingError, DamagedObjectError):
            return None

    def _stray(self, objects: list[ObjectInfo], kept: str | None, key: str, around: str, why: str) -> Iterator[Heap]:
        """The folders of claims among `objects`, but for the one `kept`; nothing when that is not known."""
        folders: dict[str, list[ObjectInfo]] = {}
        for info in objects:
            folders.setdefault(_folder(info.name), []).append(info)
        for folder, inside in folders.items():
            if kept is not None and folder != kept:
                yield Heap(folder.rstrip("/"), why, inside, key, around)


def _folder(name: str) -> str:
    return name.rpartition("/")[0] + "/"


def _heap(folder: str, why: str, objects: list[ObjectInfo], key: str = "") -> Heap:
    """All of a folder."""
    return Heap(folder.rstrip("/"), why, objects, key, folder)


def _order(info: ObjectInfo) -> tuple[bool, str]:
    """Whatever makes the others count as whole goes first, so that nothing half-gone is ever taken for whole."""
    return not is_first(info.name), info.name
