"""Compute the batches that a store lacks: in threads of this process, or on a cluster."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr
from dask.local import get_sync
from numpy.typing import NDArray

from xvar.assimilation import assimilate
from xvar.errors import InputError, Status
from xvar.execution import workers as processes
from xvar.execution.batches import Batch, WindowError, reason_of
from xvar.execution.dispatch import LazyTasks, deferred
from xvar.execution.empty import COUNTS, refuse_nothing
from xvar.execution.workers import DEATHS
from xvar.io.writing import StoreError, restore
from xvar.runs.journal import State, WriteRecord, nothing
from xvar.runs.manifest import make_manifest
from xvar.runs.report import Interrupted, Progress, Report
from xvar.runs.store import Store, few_numbers, per_window
from xvar.runs.tasks import frames_tasks, write_tasks

logger = logging.getLogger(__name__)

# Errors that name their subject; any other comes from the reading of frames.
FEW_BATCHES = 4  # that are not worth a measurement of the first
FINAL = (WindowError, InputError, StoreError, processes.WorkerError)


class Computation:
    """Computation of a run: its tasks, its store and its progress."""

    client: Any  # of a cluster; None computes in threads
    frames: NDArray[np.uint64]  # (window,), digests of the frames; 0 where they were not read
    progress: Progress
    state: State

    def __init__(self, data: xr.Dataset | xr.DataArray, store: Store, options: Mapping[str, Any]) -> None:
        self.data, self.store, self.options = data, store, dict(options)
        self.falls: list[float] = []
        self.damaged: tuple[str, ...] = ()
        self.before, self.way = 0, ""
        self.analysis, self.deferred = self._lazy(self.options.get("batch"))

    def _lazy(self, batch: Any) -> tuple[xr.Dataset, LazyTasks]:
        with deferred() as tasks:
            analysis = assimilate(self.data, **{**self.options, "batch": batch})
        return analysis, tasks

    def prepare(self, *, overwrite: bool, retry_failed: bool, accept_versions: bool) -> None:
        """Begin the store, or resume the run that it holds without what is damaged."""
        restore(self.store.path)
        self._keep_gaps()
        work, batches = self.deferred.work, self.deferred.batches
        assert work is not None
        manifest = make_manifest(self.analysis, work, self.options, batches[-1].end, len(batches[0]))
        found = self.store.resumed(manifest, overwrite=overwrite, accept_versions=accept_versions)
        if found is None:
            self.store.create(self.analysis, manifest)
            self.state = State(manifest)
            self.frames = self._digests()
            self.store.expect(self._expected(), self.state)
            return
        if found.manifest.batch != manifest.batch:  # chunks of the store are batches
            self.analysis, self.deferred = self._lazy(found.manifest.batch)
        manifest = replace(manifest, batch=found.manifest.batch, options=found.manifest.options)
        self.state = found
        self.frames = self._digests()
        again = self._failed_windows() if retry_failed else []
        damages = self.store.resume(self.analysis, manifest, found, again)
        self.store.expect(self._expected(), found)
        self.damaged = tuple(map(str, damages))
        for damage in damages:
            logger.warning("%s: %s", damage, "run again" if damage.end > damage.begin else "written again")
        self.before = int((found.status != Status.NOT_RUN).sum())

    def _keep_gaps(self) -> None:
        """Treat gaps as the run that is resumed does, if nothing is stated: a record that grows has other gaps."""
        then = self.store.state()
        chosen = None if then is None else then.manifest.configuration.get("gaps")
        if chosen is not None and self.options.get("gaps") is None:
            self.options["gaps"] = chosen
            self.analysis, self.deferred = self._lazy(self.options.get("batch"))

    def _digests(self) -> NDArray[np.uint64]:
        """Return digests (window,) of frames in memory and of those that are known; 0 for others, which are not read.

        InputError if frames are not those that are known: of windows that are done, or were to be run.
        """
        batches = self.deferred.batches
        known, now = np.zeros((2, batches[-1].end), np.uint64)
        known[: len(self.state.frames)] = self.state.frames
        wanted = [
            index for index, part in enumerate(batches) if self.deferred.in_memory or known[part.begin : part.end].any()
        ]
        if not wanted:
            return now
        import dask.threaded

        graph, keys = frames_tasks(self.analysis, self.deferred, wanted)
        is_here = self.client is None or self.deferred.in_memory
        try:
            results = (dask.threaded.get if is_here else self.client.get)(graph, keys)
        except (OSError, RuntimeError, ValueError) as error:
            raise _unreadable(error, batches[wanted[0]], batches[wanted[-1]]) from error
        for index, digests in zip(wanted, results, strict=True):
            now[batches[index].begin : batches[index].end] = digests
        others = np.flatnonzero((known != 0) & (now != 0) & (known != now))
        if others.size:
            batch = next(part for part in batches if others[0] < part.end)
            raise InputError(
                code="other-frames",
                index=batch.name(int(others[0]) - batch.begin),
                found="frames or times that are not those of the run into this store",
                expected="the record of the run, which is resumed; frames may follow it",
                fix="the record as it was, another name, or overwrite=True",
            )
        return now

    def _expected(self) -> NDArray[np.uint64]:
        """Return the digests of windows that do not change if the record grows."""
        frames, last = self.frames.copy(), self.deferred.batches[-1]
        if last.count(len(last) - 1) < last.frames.shape[1]:
            frames[-1] = 0
        return frames

    def _failed_windows(self) -> list[int]:
        """Return the windows that failed, of cycled windows also those behind them in their chain."""
        failed = np.isin(self.state.status, (Status.DIVERGED, Status.FAILED))
        for batch in self.deferred.batches:
            lead = () if batch.lead is None else batch.lead
            for window, seconds in zip(range(batch.begin, min(batch.end, len(failed))), lead, strict=False):
                failed[window] |= window > 0 and np.isfinite(seconds) and failed[window - 1]
        return [int(window) for window in np.flatnonzero(failed)]

    def choose_workers(self) -> int | None:
        """Solve the first batch that is missing, and return the worker processes that the others are worth."""
        wanted = self._wanted()
        chained = any(self.deferred.batches[index].is_continued for index in wanted)
        able = self.client is None and find_spec("distributed") is not None and not self.options.get("device")
        if len(wanted) < FEW_BATCHES or chained or not able:
            return None
        began = time.perf_counter()
        with self._interruptible():
            self._in_threads(wanted[:1])
        first = self.deferred.batches[wanted[0]]
        seconds = (time.perf_counter() - began) / len(first)
        left = sum(len(self.deferred.batches[index]) for index in wanted[1:])
        workers, why = processes.choose_processes(left, seconds)
        self.way = f"in threads ({why})" if workers is None else f"by {workers} processes ({why})"
        return workers

    def complete(self) -> Report:
        """Compute what is missing, and give the results their name."""
        wanted = self._wanted()
        with self._interruptible():
            self.progress(self.report())
            if self.client is None:
                self._in_threads(wanted)
            else:
                self._on_cluster(wanted)
        self._refuse_empty_record()
        # A run that was killed just before it gave its results their name has nothing else left to do.
        if wanted or not self.store.is_finished:
            self.store.finish(self.analysis, self.state)
        return self.report()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Turn Ctrl-C into Interrupted, with the progress."""
        try:
            yield
        except KeyboardInterrupt:
            self.state = self.store.state() or self.state  # what was noted last may not have been counted yet
            raise Interrupted(self.report()) from None

    def _refuse_empty_record(self) -> None:
        """Raise InputError if no window has an observation; of data in memory this is known before."""
        counts = self.state.numbers.get(COUNTS)
        if self.options.get("errors", "raise") == "raise" and counts is not None:
            refuse_nothing([counts])

    def report(self) -> Report:
        """Return the progress."""
        fall = float(np.median(self.falls)) if self.falls else None
        status = self.state.status.copy()
        reasons = {window: text for window, text in self.state.failures.items() if status[window] != Status.NOT_RUN}
        return Report(self.store.path, status, reasons, self.before, fall=fall, damaged=self.damaged, way=self.way)

    def _commit(self, records: Sequence[WriteRecord]) -> None:
        if not records:
            return
        rows = (self.frames[record.begin : record.end] for record in records)
        records = [
            replace(part, frames=row) if part.frames is None else part for part, row in zip(records, rows, strict=True)
        ]
        self.store.commit(records, self.state)
        for record in records:
            before, after = record.numbers["cost"].T
            known = (before > 0) & np.isfinite(after)  # not of windows that failed
            self.falls += (1 - after[known] / before[known]).tolist()
        self.progress(self.report())

    def _is_missing(self, batch: Batch) -> bool:
        return bool((self.state.status[batch.begin : batch.end] == Status.NOT_RUN).any())

    def _wanted(self) -> list[int]:
        """Return the batches that are not done."""
        return [index for index, batch in enumerate(self.deferred.batches) if self._is_missing(batch)]

    def _waits(self, batch: Batch) -> bool:
        """Return True if a batch continues from a window that is not done, whose end ended the batch too."""
        return batch.is_continued and bool(self.state.status[batch.begin - 1] == Status.NOT_RUN)

    def _give_up(self, batch: Batch, reason: str) -> None:
        """Mark windows as failed."""
        for row in range(len(batch)):
            logger.error("%s failed: %s", batch.name(row), reason)
        parts = (self.analysis[name] for name in per_window(self.analysis))
        numbers = {str(part.name): nothing(len(batch), part) for part in parts if few_numbers(part)}
        numbers["status"][:] = Status.FAILED
        self._commit([WriteRecord(batch.begin, numbers, dict.fromkeys(range(batch.begin, batch.end), reason))])

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

        graph, tasks = write_tasks(self.analysis, self.deferred, self.store, wanted, self.state.status)

        def finished(key: Any, result: Any, *_: Any) -> None:
            if key in tasks:
                self._commit([result])

        compute = get_scheduler() or dask.threaded.get
        try:
            with Callback(posttask=finished):
                results = compute(graph, list(tasks))
            begins = {batch.begin for batch in tasks.values() if self._is_missing(batch)}
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
            graph, tasks = write_tasks(self.analysis, self.deferred, self.store, wanted, self.state.status)
            futures = self.client.get(graph, list(tasks), sync=False)
            self._one_by_one(self._gather(dict(zip(futures, tasks.values(), strict=True))))
            wanted = self._wanted()

    def _gather(self, batches: dict[Any, Batch]) -> list[Batch]:
        """Note what is finished as it comes in; return the batches that killed their workers, of a chain the first."""
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

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
                            f"the cluster cancelled {batch.name(0)} and what follows: it was closed, or its connection"
                            " was lost. What is done is kept, and the same command computes the rest"
                        )
                    error = future.exception()
                    if isinstance(error, KilledWorker):
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
        single = self._lazy(1)
        for batch in dead:
            for window in range(batch.begin, batch.end):
                graph, tasks = write_tasks(*single, self.store, [window], self.state.status, alone=True)
                (key,) = tasks
                # One task that shares nothing with another: what kills its worker is known by its name.
                future = self.client.submit(partial(get_sync, graph, key), key=f"{key}-alone-{uuid.uuid4().hex}")
                for killer in self._gather({future: tasks[key]}):
                    self._give_up(killer, f"its worker died {DEATHS} times, alone with this window")


def _unreadable(error: BaseException, first: Batch, last: Batch | None = None) -> Exception:
    """Return an error of reading frames that names the windows that need them."""
    last = last or first
    where = first.name(0) + (f" to {last.name(len(last) - 1)}" if last.end - first.begin > 1 else "")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(f"{where}: {error}")
    if isinstance(error, (OSError, RuntimeError, ValueError)):
        return InputError(
            code="unreadable-frames",
            found=f"{where}: frames that cannot be read: {reason_of(error)}",
            expected="files that xarray reads",
            fix='repair the file, or errors="continue" marks these windows and continues',
        )
    return WindowError(f"{where} failed: {reason_of(error)}")
