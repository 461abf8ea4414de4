"""Run a long record into a store."""

from __future__ import annotations

import inspect
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask.config
import numpy as np
import xarray as xr

from xvar.assimilation import assimilate
from xvar.errors import Fault, InputError, Status, refuse_unknown
from xvar.execution import workers as processes
from xvar.execution.batches import Batch, LazyTasks, WindowError, reason_of
from xvar.execution.dispatch import deferred
from xvar.runs.cluster import DEATHS, connected, started
from xvar.runs.lock import holder_of, locked
from xvar.runs.manifest import Manifest, make_manifest
from xvar.runs.netcdf_store import NetCDFStore
from xvar.runs.progress import watched
from xvar.runs.report import Interrupted, Report
from xvar.runs.store import Store, StoreError, WriteRecord
from xvar.runs.tasks import Task, alone_on_worker, killed, stored_cycle_states, write_tasks
from xvar.runs.zarr_store import ZarrStore

logger = logging.getLogger(__name__)

NETCDF = (".nc", ".nc4", ".netcdf", ".cdf")

Progress = Callable[[Report], None]
# Errors that say what they are of; any other comes from the reading of frames.
FINAL = (WindowError, InputError, StoreError, processes.WorkerError)


def run(
    data: xr.Dataset | xr.DataArray,
    store: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool | Progress = False,
    zarr_format: int | None = None,
    **options: Any,
) -> Report:
    """Assimilate a record into a Zarr store or a NetCDF file; run again, it does what is missing.

    Each batch of windows is a task that reads its frames, solves them and writes its part of the store. A run that is
    killed, at any time and by whatever, costs the batches in flight: the same call goes on with the rest, and ends with
    the same bits. Without a cluster the tasks run in threads of this process.

    Parameters
    ----------
    data : Dataset or DataArray
        The record, as for `assimilate`.
    store : path
        ``NAME.zarr`` or ``NAME.nc``, on a file system that all workers see. A Zarr store can be read while it grows:
        windows that were not run have ``status`` 0, and NaN. A NetCDF file is there when it is complete.
    overwrite : bool
        Replace what is at the place and is not of this run; it stays until the new results are complete. What is of
        this run is resumed all the same.
    workers : int, optional
        Start that many worker processes, with one thread each, and use them.
    scheduler : str, optional
        Address of a scheduler of dask.distributed, such as ``tcp://host:8786``. By default the client that is active,
        if there is one.
    progress : bool or callable (Report)
        Whether a bar shows how far the run is, in a terminal or a notebook; or what is called at the beginning and
        whenever windows are finished.
    zarr_format : {2, 3}, optional
        Of a new Zarr store; default: that of the zarr package.
    **options
        Of `assimilate`. With ``errors="continue"`` windows that fail, or whose frames cannot be read, are marked and
        the others go on.

    Returns
    -------
    Report
        Windows done, failed and why.

    Raises
    ------
    InputError
        Where input, options or the place cannot be used: what is there is of another run, or another run writes there.
    WindowError
        Where a window fails, unless ``errors="continue"``; what is finished is kept.
    StoreError
        Where the disk refuses: an OSError with the path. What is finished is kept.
    Interrupted
        After Ctrl-C: a KeyboardInterrupt. What is finished is kept.

    Notes
    -----
    A batch whose worker died three times is submitted once more, one window a task; a window that kills its worker
    three times again is marked failed, and the run goes on.
    """
    processes.refuse_start_in_import()
    known = {**inspect.signature(run).parameters, **inspect.signature(assimilate).parameters}
    refuse_unknown(options, [name for name in known if name not in ("data", "store", "options")], "run()")
    target = _target(store)
    is_netcdf = Path(store).suffix.lower() in NETCDF
    holder: Store = NetCDFStore(target) if is_netcdf else ZarrStore(target, zarr_format=zarr_format)
    if workers is not None and scheduler is not None:
        raise InputError(Fault("workers= and scheduler=", "one of them: workers are started here", "leave one out"))
    with connected(scheduler) as client:
        # What is wrong with the input is said before workers are started, and before anything is locked.
        with dask.config.set({} if workers is None else {"num_workers": workers}):
            task = _Run(data, holder, options)
        with locked(target), started(workers) as own, _watched(progress, target.name) as task.progress:
            return task.execute(client if own is None else own, overwrite=overwrite)


def status(store: str | os.PathLike[str]) -> Report:
    """How far the run into a store is.

    Parameters
    ----------
    store : path
        A Zarr store or NetCDF file of `run`, finished or not, or any other analysis.

    Returns
    -------
    Report
        Windows in all, done, failed (and why) and not run.

    Raises
    ------
    InputError
        Where there is no analysis.
    """
    path = Path(store).expanduser()
    holder: Store = NetCDFStore(path.resolve()) if path.suffix.lower() in NETCDF else ZarrStore(path.resolve())
    if isinstance(holder, ZarrStore) and not path.exists() and holder.new.exists():
        holder.instead = True
    try:
        numbers = holder.status()
    except (OSError, KeyError, ValueError):
        numbers = np.zeros(0, np.int8)
    if not len(numbers):
        raise InputError(
            Fault(
                f"{str(path)!r}, which holds no analysis",
                "a store of xvar.run, or of xvar assimilate -o",
                "check the path",
            )
        )
    return Report(path, numbers, holder.failures(), running=holder_of(path))


def _target(store: str | os.PathLike[str]) -> Path:
    if "://" in os.fspath(store):
        raise InputError(
            Fault(
                f"{os.fspath(store)!r}",
                "a path of a file system that all workers see: a run locks its place and renames what is complete",
                "analysis.to_zarr(url) writes to an object store, without resuming",
            )
        )
    target = Path(store).expanduser().resolve()  # overwriting replaces the file, not a link to it
    if not target.parent.is_dir():
        raise InputError(
            Fault(f"no folder {str(target.parent)!r}", "a folder that exists", f"mkdir -p {target.parent}")
        )
    return target


@contextmanager
def _watched(progress: bool | Progress, title: str) -> Iterator[Progress | None]:
    """Who is told how far the run is."""
    if not isinstance(progress, bool):
        yield progress
    elif progress:
        with watched(title) as tell:
            yield tell
    else:
        yield None


class _Run:
    """One run: what it computes, where to, and how far it is."""

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
        self.analysis, self.deferred = self._lazy(self.options.get("batch"))

    def _lazy(self, batch: Any) -> tuple[xr.Dataset, LazyTasks]:
        with deferred() as tasks:
            analysis = assimilate(self.data, **{**self.options, "batch": batch})
        return analysis, tasks

    def execute(self, client: Any, *, overwrite: bool) -> Report:
        """Do what is missing, by a client or in threads."""
        self.client = client
        manifest = make_manifest(self.data, self.analysis, self.options, len(self.deferred.batches[0]))
        found = self._choose(manifest, overwrite=overwrite)
        if found is None:
            self.store.create(self.analysis, manifest)
        else:
            self.store.resume()
            if found.batch != manifest.batch:  # chunks of the store are batches
                self.analysis, self.deferred = self._lazy(found.batch)
        self.states = self.store.status()
        self.reasons = self.store.failures()
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
            self.states, self.reasons = self.store.status(), self.store.failures()
            raise Interrupted(self.report()) from None
        # A run that was killed just before it gave its results their name has nothing else left to do.
        if wanted or not self.store.is_finished:
            self.store.finish(self.analysis)
        return self.report()

    def _choose(self, manifest: Manifest, *, overwrite: bool) -> Manifest | None:
        """The manifest of what is resumed; None where the run begins anew."""
        store = self.store
        if isinstance(store, ZarrStore) and store.new.exists():
            # A run that replaces another was under way.
            store.instead = True
            found = store.manifest()
            if overwrite and found is not None and not found.differences(manifest):
                return found
            store.instead = False
        found = store.manifest()
        differences = None if found is None else found.differences(manifest)
        if differences == []:
            return found
        if not store.path.exists() and not store.place.exists():
            return None
        if not overwrite:
            what = (
                "which is no run of xvar"
                if differences is None
                else f"a run with other input or options: {'; '.join(differences)}"
            )
            raise InputError(
                Fault(
                    f"{str(store.path)!r}, {what}",
                    "a new name, or the store of the same run, which is resumed",
                    "another name, or overwrite=True (--overwrite): what is there stays until the new is complete",
                )
            )
        if isinstance(store, ZarrStore):
            store.instead = store.path.exists()
        return None

    def report(self) -> Report:
        """How far the run is."""
        fall = float(np.median(self.falls)) if self.falls else None
        return Report(self.store.path, self.states.copy(), dict(self.reasons), self.before, fall=fall)

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(self.report())

    def _commit(self, batches: Sequence[WriteRecord]) -> None:
        if not batches:
            return
        self.store.commit(batches)
        for batch in batches:
            states = batch.numbers["status"]
            self.states[batch.begin : batch.begin + len(states)] = states
            self.reasons.update(batch.failures)
            before, after = batch.numbers["cost"].T
            known = (before > 0) & np.isfinite(after)  # not where a window failed
            self.falls += (1 - after[known] / before[known]).tolist()
        self._tell()

    def _is_missing(self, batch: Batch) -> bool:
        return bool((self.states[batch.begin : batch.end] == Status.NOT_RUN).any())

    def _wanted(self) -> list[int]:
        """Batches that are not done."""
        return [index for index, batch in enumerate(self.deferred.batches) if self._is_missing(batch)]

    def _waits(self, batch: Batch) -> bool:
        """Whether a batch goes on from a window that is not done: what ended that one ended this one with it."""
        return batch.is_continued and bool(self.states[batch.begin - 1] == Status.NOT_RUN)

    def _tasks(self, wanted: Sequence[int]) -> tuple[Mapping[Any, Any], list[Task]]:
        """Graph and tasks of batches; chains go on from what the store holds."""
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
        """Raise an error that ends the run; one of reading is marked where the run is to go on."""
        if isinstance(error, FINAL):
            raise error
        if self.options.get("errors") == "continue":
            self._give_up(batch, reason_of(error))
            return
        raise _unreadable(error, batch) from error

    # --- threads ---

    def _in_threads(self, wanted: Sequence[int]) -> None:
        """All batches in this process; where one cannot be read, the others are found by halves."""
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
            for part in (missing[:half], missing[half:]):  # in order: a chain goes on from what the first half stored
                self._in_threads(part)

    # --- cluster ---

    def _on_cluster(self, wanted: Sequence[int]) -> None:
        """All batches on the workers; what ends a batch of a chain ends those behind it, which are submitted again."""
        assert self.deferred.work is not None
        processes.refuse_unpicklable(self.deferred.work.solve)
        while wanted:
            self._one_by_one(self._gather(self._submitted(wanted)))
            wanted = self._wanted()

    def _submitted(self, wanted: Sequence[int]) -> dict[Any, Batch]:
        """Batches by their futures."""
        graph, tasks = self._tasks(wanted)
        futures = self.client.get(graph, [task.key for task in tasks], sync=False)
        return {future: task.batch for future, task in zip(futures, tasks, strict=True)}

    def _gather(self, batches: dict[Any, Batch]) -> list[Batch]:
        """Note what is finished as it comes in; gives the batches that killed their workers, of a chain the first."""
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
                            " cancel. What is done is kept, and the same command goes on with the rest"
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
        """Once more, one window a task and one at a time, so that the window which kills is known."""
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


def _unreadable(error: BaseException, batch: Batch) -> Exception:
    """An error of reading frames, with the windows that need them."""
    where = batch.name(0) + (f" to {batch.name(len(batch) - 1)}" if len(batch) > 1 else "")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{where}: {error}")
    if isinstance(error, (OSError, RuntimeError, ValueError)):
        return InputError(
            Fault(
                f"{where}: frames that cannot be read: {reason_of(error)}",
                "files that xarray reads",
                'mend the file, or errors="continue" marks these windows and goes on',
            )
        )
    return WindowError(f"{where} failed: {reason_of(error)}")
