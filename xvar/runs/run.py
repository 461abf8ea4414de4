"""Run a long record into a store."""

from __future__ import annotations

import inspect
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dask.config
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.assimilation import assimilate
from xvar.errors import Fault, InputError, Status, refuse_unknown
from xvar.execution import workers as processes
from xvar.execution.batches import Batch, LazyTasks, WindowError, reason_of
from xvar.execution.dispatch import deferred
from xvar.io.durable import StoreError, restore
from xvar.runs.cluster import DEATHS, connected, started
from xvar.runs.journal import State, WriteRecord
from xvar.runs.lock import holder_of, locked
from xvar.runs.manifest import Manifest, make_manifest
from xvar.runs.netcdf_store import NetCDFStore
from xvar.runs.progress import watched
from xvar.runs.report import Interrupted, Report
from xvar.runs.store import Store
from xvar.runs.tasks import Task, alone_on_worker, frames_tasks, killed, stored_cycle_states, write_tasks
from xvar.runs.zarr_store import ZarrStore

logger = logging.getLogger(__name__)

NETCDF = (".nc", ".nc4", ".netcdf", ".cdf")

Progress = Callable[[Report], None]
# Errors that name their subject; any other comes from the reading of frames.
FINAL = (WindowError, InputError, StoreError, processes.WorkerError)


def run(
    data: xr.Dataset | xr.DataArray,
    store: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    retry_failed: bool = False,
    accept_versions: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool | Progress = False,
    zarr_format: int | None = None,
    **options: Any,
) -> Report:
    """Assimilate a record into a Zarr store or a NetCDF file; the same call again completes it.

    Each batch of windows is a task that reads its frames, solves them and writes its part of the store. A run that is
    killed at any time loses the batches in flight only: the same call computes the rest, and the result has the same
    bits. Without a cluster the tasks run in threads of this process.

    Parameters
    ----------
    data : Dataset or DataArray
        The record, as for `assimilate`.
    store : path
        ``NAME.zarr`` or ``NAME.nc``, on a file system that all workers see. A Zarr store can be read while it grows:
        windows that were not run have ``status`` 0, and NaN. A NetCDF file is there when it is complete.
    overwrite : bool
        Replace what is at the place and is not of this run; it stays until the new results are complete. Results of
        this run are resumed all the same.
    retry_failed : bool
        Run windows that failed once more, such as those of files that could not be read. Of cycled windows those
        behind them, to the end of the chain, are run again too.
    accept_versions : bool
        Resume a run of another version of xvar, torch or Python, whose bits may differ.
    workers : int, optional
        Start that many worker processes, with one thread each, and use them.
    scheduler : str, optional
        Address of a scheduler of dask.distributed, such as ``tcp://host:8786``. Default: the active client, if any.
    progress : bool or callable (Report)
        Show a bar in a terminal or a notebook; or a function that is called at the beginning and whenever windows are
        finished.
    zarr_format : {2, 3}, optional
        Format of a new Zarr store; default: that of the zarr package.
    **options
        Options of `assimilate`. With ``errors="continue"`` windows that fail, or whose frames cannot be read, are
        marked, and the run continues with the others.

    Returns
    -------
    Report
        Windows done, failed and why.

    Raises
    ------
    InputError
        If input, options or place cannot be used: the store is of another run, or another run writes into it.
    WindowError
        If a window fails, unless ``errors="continue"``; what is finished is kept.
    StoreError
        If the disk refuses: an OSError with the path. What is finished is kept.
    Interrupted
        After Ctrl-C: a KeyboardInterrupt. What is finished is kept.

    Notes
    -----
    A store belongs to its run by content: models, functions, operators and options are compared by their state and
    code, and the frames of all windows that are done by digests, for which they are read once more. What a store holds
    is read and compared with its checksums; windows that are damaged or absent are run again.

    A batch whose worker died three times is submitted once more, one window a task; a window that kills its worker
    three times again is marked failed, and the run continues.
    """
    processes.refuse_start_in_import()
    known = {**inspect.signature(run).parameters, **inspect.signature(assimilate).parameters}
    refuse_unknown(options, [name for name in known if name not in ("data", "store", "options")], "run()")
    target = _target(store)
    is_netcdf = Path(store).suffix.lower() in NETCDF
    holder: Store = NetCDFStore(target) if is_netcdf else ZarrStore(target, zarr_format=zarr_format)
    if workers is not None and scheduler is not None:
        raise InputError(
            Fault(
                code="workers-and-scheduler",
                found="workers= and scheduler=",
                expected="one of them: workers are started here",
                fix="leave one out",
            )
        )
    with connected(scheduler) as client:
        # Faults of the input are reported before workers are started, and before anything is locked.
        with dask.config.set({} if workers is None else {"num_workers": workers}):
            task = _Run(data, holder, options)
        with locked(target), started(workers) as own, _watched(progress, target.name) as task.progress:
            task.client = client if own is None else own
            return task.execute(overwrite=overwrite, retry_failed=retry_failed, accept_versions=accept_versions)


def status(store: str | os.PathLike[str], *, verify: bool = False) -> Report:
    """Report the progress of the run into a store.

    Parameters
    ----------
    store : path
        A Zarr store or NetCDF file of `run`, finished or not, or any other analysis.
    verify : bool
        Read everything, and compare it with the checksums: windows that are damaged or absent count as not run.

    Returns
    -------
    Report
        Windows in all, done, failed (and why) and not run; with `verify` what is damaged.

    Raises
    ------
    InputError
        If there is no analysis.
    StoreError
        If the status of the windows is damaged.
    """
    path = Path(store).expanduser()
    holder: Store = NetCDFStore(path.resolve()) if path.suffix.lower() in NETCDF else ZarrStore(path.resolve())
    if isinstance(holder, ZarrStore) and not path.exists() and holder.new.exists():
        holder.instead = True
    state = holder.state()
    if state is None:
        return Report(path, _status_of_analysis(path), running=holder_of(path))
    damages = holder.damages(state) if verify else []
    numbers = state.status.copy()
    for damage in damages:
        numbers[damage.begin : damage.end] = Status.NOT_RUN
    if isinstance(holder, ZarrStore) and not verify:
        holder.check_status()
    return Report(path, numbers, state.failures, running=holder_of(path), damaged=tuple(map(str, damages)))


def _status_of_analysis(path: Path) -> NDArray[np.int8]:
    """Return the status of windows of an analysis that `run` did not write."""
    try:
        opened = xr.open_dataset(path) if path.is_file() else xr.open_zarr(path)
        with opened as file:
            return np.asarray(file["status"].values, dtype=np.int8)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            Fault(
                code="not-an-analysis",
                found=f"{str(path)!r}, which holds no analysis, or one that is damaged",
                expected="a store of xvar.run, or of xvar assimilate -o",
                fix="check the path",
            )
        ) from error


def _target(store: str | os.PathLike[str]) -> Path:
    if "://" in os.fspath(store):
        raise InputError(
            Fault(
                code="store-is-a-url",
                found=f"{os.fspath(store)!r}",
                expected="a path of a file system that all workers see: a run locks its place and renames its results",
                fix="analysis.to_zarr(url) writes to an object store, without resuming",
            )
        )
    target = Path(store).expanduser().resolve()  # overwriting replaces the file, not a link to it
    if not target.parent.is_dir():
        raise InputError(
            Fault(
                code="missing-folder",
                found=f"no folder {str(target.parent)!r}",
                expected="a folder that exists",
                fix=f"mkdir -p {target.parent}",
            )
        )
    return target


@contextmanager
def _watched(progress: bool | Progress, title: str) -> Iterator[Progress | None]:
    """Yield the progress callback."""
    if not isinstance(progress, bool):
        yield progress
    elif progress:
        with watched(title) as callback:
            yield callback
    else:
        yield None


class _Run:
    """One run: its tasks, its store and its progress."""

    def __init__(
        self,
        data: xr.Dataset | xr.DataArray,
        store: Store,
        options: Mapping[str, Any],
    ) -> None:
        self.data = data
        self.store = store
        self.options = dict(options)
        self.client: Any = None
        self.progress: Progress | None = None
        self.falls: list[float] = []
        self.damaged: tuple[str, ...] = ()
        self.analysis, self.deferred = self._lazy(self.options.get("batch"))

    def _lazy(self, batch: Any) -> tuple[xr.Dataset, LazyTasks]:
        with deferred() as tasks:
            analysis = assimilate(self.data, **{**self.options, "batch": batch})
        return analysis, tasks

    def execute(self, *, overwrite: bool, retry_failed: bool, accept_versions: bool) -> Report:
        """Compute what is missing."""
        restore(self.store.path)
        work, batches = self.deferred.work, self.deferred.batches
        assert work is not None
        manifest = make_manifest(self.analysis, work, self.options, batches[-1].end, len(batches[0]))
        found = self._choose(manifest, overwrite=overwrite, accept_versions=accept_versions)
        if found is None:
            self.store.create(self.analysis, manifest)
            self.state = State(manifest)
        else:
            if found.manifest.batch != manifest.batch:  # chunks of the store are batches
                self.analysis, self.deferred = self._lazy(found.manifest.batch)
            manifest = replace(manifest, batch=found.manifest.batch, options=found.manifest.options)
            self.state = found
            self._compare_frames()
            again = self._failed() if retry_failed else []
            damages = self.store.resume(self.analysis, manifest, found, again)
            self.damaged = tuple(map(str, damages))
            for damage in damages:
                logger.warning("%s: %s", damage, "run again" if damage.end > damage.begin else "written again")
        self.states = self.state.status.copy()
        self.before = int((self.states != Status.NOT_RUN).sum())
        wanted = self._wanted()
        try:
            self._tell()
            if self.client is None:
                self._in_threads(wanted)
            else:
                self._on_cluster(wanted)
        except KeyboardInterrupt:
            # What was noted last may not have been counted yet.
            self.state = self.store.state() or self.state
            self.states = self.state.status.copy()
            raise Interrupted(self.report()) from None
        # A run that was killed just before it gave its results their name has nothing else left to do.
        if wanted or not self.store.is_finished:
            self.store.finish(self.analysis, self.state)
        return self.report()

    def _choose(self, manifest: Manifest, *, overwrite: bool, accept_versions: bool) -> State | None:
        """Return the journal of the run that is resumed; None if the run begins anew."""
        store = self.store
        if isinstance(store, ZarrStore) and store.new.exists():
            # A run that replaces another was under way.
            store.instead = True
            found = store.state()
            if overwrite and found is not None and not found.manifest.differences(manifest):
                self._check_versions(found.manifest, manifest, accept=accept_versions)
                return found
            store.instead = False
        found = store.state()
        differences = None if found is None else found.manifest.differences(manifest)
        if found is not None and not differences:
            if not overwrite or accept_versions or not found.manifest.other_versions(manifest):
                self._check_versions(found.manifest, manifest, accept=accept_versions)
                return found
        elif not store.path.exists() and not store.place.exists():
            return None
        elif not overwrite:
            what = (
                "which is no run of xvar, or was written by a version before 0.2"
                if differences is None
                else f"a run with other input or options: {'; '.join(differences)}"
            )
            raise InputError(
                Fault(
                    code="store-of-another-run",
                    found=f"{str(store.path)!r}, {what}",
                    expected="a new name, or the store of the same run, which is resumed",
                    fix="another name, or overwrite=True (--overwrite): what is there stays until the new is complete",
                )
            )
        if isinstance(store, ZarrStore):
            store.instead = store.path.exists()
        return None

    def _check_versions(self, then: Manifest, now: Manifest, *, accept: bool) -> None:
        others = then.other_versions(now)
        if others and not accept:
            raise InputError(
                Fault(
                    code="other-versions",
                    found=f"{str(self.store.path)!r}, a run of other versions: {'; '.join(others)}",
                    expected="the versions of the run, so that all windows have the bits of one",
                    fix="accept_versions=True (--accept-versions), or install those versions",
                )
            )

    def _compare_frames(self) -> None:
        """Raise if the frames of windows that are done are not those that were solved."""
        batches = self.deferred.batches
        known = self.state.frames * (self.state.status != Status.NOT_RUN)
        end = len(known)
        wanted = [i for i, batch in enumerate(batches) if known[batch.begin : min(batch.end, end)].any()]
        if not wanted:
            return
        import dask.threaded

        graph, keys = frames_tasks(self.analysis, self.deferred, wanted)
        compute = dask.threaded.get if self.client is None else self.client.get
        try:
            results = compute(graph, keys)
        except (OSError, RuntimeError, ValueError) as error:
            raise _unreadable(error, batches[wanted[0]], batches[wanted[-1]]) from error
        for index, now in zip(wanted, results, strict=True):
            batch = batches[index]
            then = known[batch.begin : batch.end]
            others = np.flatnonzero((then != 0) & (now[: len(then)] != then))
            if others.size:
                raise InputError(
                    Fault(
                        code="other-frames",
                        index=batch.name(int(others[0])),
                        found="frames or times that are not those which were solved into this store",
                        expected="the record of the run, which is resumed; frames may follow it",
                        fix="the record as it was, another name, or overwrite=True (--overwrite)",
                    )
                )

    def _failed(self) -> list[int]:
        """Return the windows that failed, of cycled windows also those behind them in their chain."""
        failed = np.isin(self.state.status, (Status.DIVERGED, Status.FAILED))
        for batch in self.deferred.batches:
            lead = () if batch.lead is None else batch.lead
            for window, seconds in zip(range(batch.begin, min(batch.end, len(failed))), lead, strict=False):
                failed[window] |= window > 0 and np.isfinite(seconds) and failed[window - 1]
        return [int(window) for window in np.flatnonzero(failed)]

    def report(self) -> Report:
        """Return the progress."""
        fall = float(np.median(self.falls)) if self.falls else None
        reasons = {
            window: text for window, text in self.state.failures.items() if self.states[window] != Status.NOT_RUN
        }
        return Report(self.store.path, self.states.copy(), reasons, self.before, fall=fall, damaged=self.damaged)

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(self.report())

    def _commit(self, records: Sequence[WriteRecord]) -> None:
        if not records:
            return
        self.store.commit(records, self.state)
        for record in records:
            self.states[record.begin : record.end] = record.numbers["status"]
            before, after = record.numbers["cost"].T
            known = (before > 0) & np.isfinite(after)  # not of windows that failed
            self.falls += (1 - after[known] / before[known]).tolist()
        self._tell()

    def _is_missing(self, batch: Batch) -> bool:
        return bool((self.states[batch.begin : batch.end] == Status.NOT_RUN).any())

    def _wanted(self) -> list[int]:
        """Return the batches that are not done."""
        return [index for index, batch in enumerate(self.deferred.batches) if self._is_missing(batch)]

    def _waits(self, batch: Batch) -> bool:
        """Return True if a batch continues from a window that is not done, whose end ended the batch too."""
        return batch.is_continued and bool(self.states[batch.begin - 1] == Status.NOT_RUN)

    def _tasks(self, wanted: Sequence[int]) -> tuple[Mapping[Any, Any], list[Task]]:
        """Return graph and tasks of batches; chains continue from what the store holds."""
        reader = self.store.reader()
        cycle_states = stored_cycle_states(self.deferred, reader, self.states, wanted)
        return write_tasks(
            self.analysis, self.deferred, self.store.writer(), wanted, reader=reader, cycle_states=cycle_states
        )

    def _give_up(self, batch: Batch, reason: str) -> None:
        for row in range(len(batch)):
            logger.error("%s failed: %s", batch.name(row), reason)
        self._commit([killed(batch, self.analysis, Status.FAILED, reason)])

    def _refuse(self, error: BaseException, batch: Batch) -> None:
        """Raise an error that ends the run; mark windows that cannot be read if the run is to continue."""
        if isinstance(error, FINAL):
            raise error
        if self.options.get("errors") == "continue":
            self._give_up(batch, reason_of(error))
            return
        raise _unreadable(error, batch) from error

    # --- threads ---

    def _in_threads(self, wanted: Sequence[int]) -> None:
        """Compute batches in this process; if one cannot be read, bisection finds the others."""
        if not wanted:
            return
        import dask.threaded
        from dask.base import get_scheduler
        from dask.callbacks import Callback

        graph, tasks = self._tasks(wanted)
        keys = {task.key for task in tasks}

        def finished(key: Any, result: Any, *_: Any) -> None:
            if key in keys:
                self._commit([result])

        compute = get_scheduler() or dask.threaded.get
        try:
            with Callback(posttask=finished):
                results = compute(graph, [task.key for task in tasks])
            begins = {task.batch.begin for task in tasks if self._is_missing(task.batch)}
            self._commit([result for result in results if result.begin in begins])  # a scheduler that calls nobody back
        except Exception as error:  # noqa: BLE001  (raised again, or marked, by _refuse)
            missing = [index for index in wanted if self._is_missing(self.deferred.batches[index])]
            if isinstance(error, FINAL) or len(missing) < 2:
                self._refuse(error, self.deferred.batches[(missing or wanted)[0]])
                return
            half = len(missing) // 2
            for part in (missing[:half], missing[half:]):  # in order: a chain continues from what the first half stored
                self._in_threads(part)

    # --- cluster ---

    def _on_cluster(self, wanted: Sequence[int]) -> None:
        """Compute batches on the workers; batches behind one of their chain that died are submitted again."""
        assert self.deferred.work is not None
        processes.refuse_unpicklable(self.deferred.work.solve)
        while wanted:
            self._one_by_one(self._gather(self._submitted(wanted)))
            wanted = self._wanted()

    def _submitted(self, wanted: Sequence[int]) -> dict[Any, Batch]:
        """Submit batches, and return them by their futures."""
        graph, tasks = self._tasks(wanted)
        futures = self.client.get(graph, [task.key for task in tasks], sync=False)
        return {future: task.batch for future, task in zip(futures, tasks, strict=True)}

    def _gather(self, batches: dict[Any, Batch]) -> list[Batch]:
        """Note what is finished as it comes in; return the batches that killed their workers, of a chain the first."""
        from distributed import as_completed

        dead = []
        try:
            waiting = as_completed(list(batches), raise_errors=False)  # type: ignore[no-untyped-call]
            for finished in waiting.batches():  # type: ignore[no-untyped-call]
                states = {future: future.status for future in finished}
                done = [future for future, state in states.items() if state == "finished"]
                broken = [future for future, state in states.items() if state in ("error", "cancelled")]
                # A result is lost with the worker that holds it; dask computes it again, and it comes back here.
                lost = [future for future in finished if future not in done and future not in broken]
                try:
                    self._commit(self.client.gather(done))
                except FINAL:
                    raise
                except Exception:
                    if all(future.status == "finished" for future in done):
                        raise
                    lost, done = lost + done, []
                waiting.update(lost)  # type: ignore[no-untyped-call]
                for future in done:
                    del batches[future]
                    future.release()  # what is noted is not computed again with its worker's death
                for future in sorted(broken, key=lambda future: batches[future].begin):
                    batch = batches.pop(future)
                    if states[future] == "cancelled":  # this says nothing of its windows
                        raise processes.WorkerError(
                            f"the cluster let go of {batch.name(0)} and what follows: it was closed, lost, or told to"
                            " cancel. What is done is kept, and the same command computes the rest"
                        )
                    error = future.exception()
                    if _died(error):
                        dead.append(batch)
                    elif not self._waits(batch) or isinstance(error, FINAL):
                        self._refuse(error, batch)
        finally:
            self.client.cancel(list(batches))
        return [batch for batch in dead if not self._waits(batch)]

    def _one_by_one(self, dead: Sequence[Batch]) -> None:
        """Run windows of batches again, one at a time, so that the window which kills its worker is known."""
        if not dead:
            return
        logger.warning("%d batches killed their workers: their windows are run one by one", len(dead))
        analysis, single = self._lazy(1)
        for batch in dead:
            for window in range(batch.begin, batch.end):
                cycle_states = stored_cycle_states(single, self.store.reader(), self.states, [window])
                graph, (task,) = write_tasks(
                    analysis, single, self.store.writer(), [window], alone=True, cycle_states=cycle_states
                )
                name = f"{task.key}-alone-{uuid.uuid4().hex}"
                future = self.client.submit(partial(alone_on_worker, graph, task.key), key=name)
                for killer in self._gather({future: task.batch}):
                    self._give_up(killer, f"its worker died {DEATHS} times, alone with this window")


def _died(error: BaseException | None) -> bool:
    from distributed.scheduler import KilledWorker

    return isinstance(error, KilledWorker)


def _unreadable(error: BaseException, first: Batch, last: Batch | None = None) -> Exception:
    """Return an error of reading frames that names the windows that need them."""
    last = last or first
    where = first.name(0) + (f" to {last.name(len(last) - 1)}" if last.end - first.begin > 1 else "")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{where}: {error}")
    if isinstance(error, (OSError, RuntimeError, ValueError)):
        return InputError(
            Fault(
                code="unreadable-frames",
                found=f"{where}: frames that cannot be read: {reason_of(error)}",
                expected="files that xarray reads",
                fix='repair the file, or errors="continue" marks these windows and continues',
            )
        )
    return WindowError(f"{where} failed: {reason_of(error)}")
