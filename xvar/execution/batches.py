"""Batches of windows: their sizes, input and output of a solver; a window that fails does not disturb the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvar.errors import DivergedError, InputError, Status
from xvar.execution import workers
from xvar.execution.schedule import Schedule

logger = logging.getLogger(__name__)

Array = Any  # a numpy or a dask array
Errors = Literal["raise", "continue"]
Fields = Mapping[str, NDArray[Any]]

TOGETHER_POINTS = 2**20  # points of the images minimised together on a processor: more are no faster
POINT_SECONDS = 4.5e-7  # approximate cost of a point of an image on one core
TASK_SECONDS = 10.0  # work of a task: long for a scheduler, short if a worker is killed
MIN_TASKS_OF_RECORD = 20  # a kill costs at most a twentieth of a short record
MIN_TASKS_OF_WORKER = 4  # all workers end at about the same time

WITHOUT_ANALYSIS = (Status.NOT_RUN, Status.DIVERGED, Status.FAILED)  # no window can be cycled from these


class WindowError(RuntimeError):
    """A window could not be analysed; the message names it, and the error that it met is the cause."""


@dataclass(frozen=True)
class CycleState:
    """State that a cycled window takes over from the window before it."""

    #: (y, x), variables of that analysis at its last frame, or if windows overlap at the first of this one.
    fields: Fields
    lead: float  # seconds from that frame to the first of this window
    elapsed: float  # seconds from the first frame of that window to the first of this one
    shared: int = 0  # first frames that were observed in that window


@dataclass(frozen=True)
class WindowBatch:
    """Windows with the same frame times, as plain arrays: the input of a solver."""

    frames: NDArray[Any]  # (window, frame, y, x), in the order of the input, NaN if not observed
    seconds: tuple[float, ...]  # of each frame after the first of its window
    numbers: NDArray[np.intp]  # (window, frame), of each frame in the record
    begin: NDArray[np.float64]  # (window,), seconds from the first frame of the record to the first of the window
    ends: NDArray[Any] | None = None  # (window,), dates of the last frames
    cycle_state: CycleState | None = None  # of the one window of the batch, if windows are cycled
    handover: int = -1  # step from which the next window begins

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, windows: slice) -> WindowBatch:
        """Return a part of the windows."""
        ends = None if self.ends is None else self.ends[windows]
        arrays = self.frames[windows], self.seconds, self.numbers[windows], self.begin[windows], ends
        return WindowBatch(*arrays, self.cycle_state, self.handover)


Solve = Callable[[WindowBatch], Fields]


@dataclass(frozen=True)
class Output:
    """Shape of one window of an output variable, its type, and its value if the window failed."""

    shape: tuple[int, ...]
    dtype: str
    fill: float = np.nan
    by_step: bool = False  # True if the first dimension is that of the frames of the window


@dataclass(frozen=True, kw_only=True)
class Batch(Schedule):
    """Consecutive windows that make one task; `frames` are places in `needed`."""

    begin: int  # number of the first window
    needed: NDArray[np.intp]  # (frame,), frames of the record that the windows hold, ascending
    starts: NDArray[np.float64]  # (window,), seconds from the first frame of the record
    spans: NDArray[Any] | None = None  # (window, 2), dates of the first and the last frame

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def end(self) -> int:
        """Return the number after that of the last window."""
        return self.begin + len(self)

    def name(self, row: int) -> str:
        """Return the name of a window for messages."""
        label = f"window {self.begin + row}"
        if self.spans is None:
            return label
        first, last = (str(moment).partition(".")[0] for moment in self.spans[row])
        return f"{label} ({first} to {last})"

    def count(self, row: int) -> int:
        """Return the number of frames of a window."""
        return int((self.frames[row] >= 0).sum())

    def end_step(self, row: int) -> int:
        """Return the step of a window from which the next one begins: its last, unless windows overlap."""
        return self.count(row) - 1 if self.handover is None else int(self.handover[row])

    @property
    def is_continued(self) -> bool:
        """Return whether the first window is cycled from the last one of the batch before."""
        return self.lead is not None and bool(np.isfinite(self.lead[0]))

    def chains(self) -> list[Batch]:
        """Cut the batch at the beginnings of chains of cycled windows."""
        if self.lead is None:
            return [self]
        cuts = [0, *(int(row) + 1 for row in np.flatnonzero(np.isnan(self.lead[1:]))), len(self)]
        return [self.rows(begin, end) for begin, end in pairwise(cuts)]

    def rows(self, begin: int, end: int) -> Batch:
        """Return the rows `begin` to `end` - 1, with the frames that they need."""
        names = ("frames", "seconds", "lead", "elapsed", "shared", "handover", "starts", "spans")
        parts = {name: getattr(self, name) for name in names}
        cut: dict[str, Any] = {name: None if part is None else part[begin:end] for name, part in parts.items()}
        used = np.unique(cut["frames"][cut["frames"] >= 0])
        cut["frames"] = np.where(cut["frames"] >= 0, np.searchsorted(used, cut["frames"]), -1)
        return Batch(begin=self.begin + begin, needed=self.needed[used], **cut)


@dataclass(frozen=True)
class Work:
    """Settings of a call that are the same for each of its batches."""

    solve: Solve
    outputs: Mapping[str, Output]  # results of `solve`, ``status`` among them
    errors: Errors  # "raise" ends the run if a window fails, "continue" marks the window in ``status``
    together: int  # most windows that are minimised together
    device: str | None = None
    carried: tuple[str, ...] = ()  # outputs that a cycled window takes over from the window before
    window_bytes: float = 0.0  # memory that a window needs while it is minimised

    def by_step(self) -> dict[str, bool]:
        """Return the outputs that a cycled window takes over, and whether each has a value for every frame."""
        return {name: self.outputs[name].by_step for name in self.carried}

    def __reduce__(self) -> tuple[Any, ...]:
        # Any scheduler that sends work to another process, also a user's own, reports what cannot be pickled.
        workers.refuse_unpicklable(self.solve)
        return type(self), tuple(vars(self).values())


@dataclass(frozen=True)
class BatchResult:
    """Results of a batch by output, and the reason of each window that failed, by its number."""

    arrays: dict[str, NDArray[Any]]  # (window, ...)
    failures: dict[int, str] = field(default_factory=dict)


class Sizes(NamedTuple):
    """Windows of a task, and windows that are minimised together."""

    task: int
    together: int


def is_batch(batch: object) -> bool:
    """Return True if `batch_sizes` accepts the value."""
    if isinstance(batch, str):
        from dask.utils import parse_bytes

        try:
            return parse_bytes(batch) > 0
        except ValueError:
            return False
    return batch is None or (isinstance(batch, (int, np.integer)) and not isinstance(batch, bool) and bool(batch >= 1))


def batch_sizes(
    batch: int | str | None,
    windows: int,
    points: int,
    steps: int,
    working_fields: int,
    *,
    lazy: bool = True,
    on_device: bool = False,
) -> Sizes:
    """Return the sizes of batches for a record of `windows` of `steps` frames on `points`; no result depends on them.

    `batch` is the number of windows of a task, or its memory, such as "500MiB". By default a task is about ten seconds
    of work, at most a twentieth of the record, and small enough to keep every worker busy. `working_fields` is the
    number of fields, of four bytes a point, that a window needs while it is minimised. If not `lazy`, the fastest
    number of windows is taken. On a device a whole batch is minimised together, as far as its memory allows, see
    `solve_batch`.
    """
    cached = windows if on_device else max(1, TOGETHER_POINTS // (points * steps))
    if isinstance(batch, str):
        from dask.utils import parse_bytes

        field_bytes = 4 * points
        # A stored window takes its frames and outputs, a window that is minimised its working fields.
        together = min(cached, max(1, parse_bytes(batch) // (2 * working_fields * field_bytes)))
        left = parse_bytes(batch) - together * working_fields * field_bytes
        return Sizes(int(min(windows, max(1, left // (5 * steps * field_bytes)))), int(together))
    if batch is not None:
        return Sizes(min(batch, windows), min(batch, cached))
    if not lazy:
        return Sizes(min(windows, cached), min(windows, cached))
    affordable = int(TASK_SECONDS / (POINT_SECONDS * points * steps))
    busy = -(-windows // (MIN_TASKS_OF_WORKER * workers.cluster_threads()))
    task = max(1, min(-(-windows // MIN_TASKS_OF_RECORD), affordable, busy))
    return Sizes(task, min(task, cached))


def make_batches(
    schedule: Schedule, size: int, seconds: NDArray[np.float64], times: NDArray[Any] | None = None
) -> list[Batch]:
    """Cut a schedule into batches of `size` windows; `seconds` and dates `times` are those of the record (frame,)."""
    first, last = schedule.frames[:, 0], schedule.frames.max(axis=1)
    whole = Batch(
        **vars(schedule),
        begin=0,
        needed=np.arange(len(seconds)),
        starts=seconds[first] - seconds[0],
        spans=None if times is None else np.stack([times[first], times[last]], axis=1),
    )
    return [whole.rows(begin, begin + size) for begin in range(0, len(whole), size)]


def solve_batch(
    work: Work, batch: Batch, block: NDArray[Any], held: NDArray[np.intp], before: Fields | None = None
) -> BatchResult:
    """Solve the windows of one batch, given frames (frame, y, x) of the record and their numbers `held` (frame,).

    `before` is the final state of the window before the first, see `final_state`. The device that is here decides how
    many windows fit its memory.
    """
    together = min(work.together, workers.fitting_windows(work.device, work.window_bytes) or work.together)
    # Memory takes no place before it is written: the results of a large grid begin to need theirs when it is solved.
    blank = {name: np.empty((len(batch), *output.shape), output.dtype) for name, output in work.outputs.items()}
    solver = _BatchSolver(work, batch, block, np.searchsorted(held, batch.needed), BatchResult(blank))
    if batch.lead is None or batch.elapsed is None:
        for rows, seconds in batch.groups():
            for begin in range(0, len(rows), together):
                solver.solve(rows[begin : begin + together], seconds)
        return solver.result
    for row in range(len(batch)):  # cycled windows, in their order
        is_cycled = before is not None and bool(np.isfinite(batch.lead[row]))
        shared = 0 if batch.shared is None else int(batch.shared[row])
        state = (
            CycleState(before or {}, float(batch.lead[row]), float(batch.elapsed[row]), shared) if is_cycled else None
        )
        seconds = tuple(np.round(batch.seconds[row, : batch.count(row)], 3).tolist())
        solver.solve(np.array([row]), seconds, state)
        before = final_state(work, batch, solver.result, row)
    return solver.result


@dataclass(frozen=True)
class _BatchSolver:
    """Solver of rows of a batch, whose frames have the places `place` in `block`."""

    work: Work
    batch: Batch
    block: NDArray[Any]
    place: NDArray[np.intp]
    result: BatchResult

    def solve(self, rows: NDArray[np.intp], seconds: tuple[float, ...], cycle_state: CycleState | None = None) -> None:
        """Solve windows together; if that fails, each alone, to find the one that fails."""
        frames = self.batch.frames[rows, : len(seconds)]
        windows = WindowBatch(
            self._taken(self.place[frames]),
            seconds,
            self.batch.needed[frames],
            self.batch.starts[rows],
            None if self.batch.spans is None else self.batch.spans[rows, 1],
            cycle_state,
            self.batch.end_step(int(rows[0])),
        )
        try:
            results = self.work.solve(windows)
        except Exception as error:  # noqa: BLE001 -- any failure stays with its window
            if len(rows) > 1:
                for row in rows:
                    self.solve(np.array([row]), seconds)
            else:
                self._note_failure(error, int(rows[0]))
            return
        self._log(rows, results)
        for key, target in self.result.arrays.items():
            values = results[key]
            alike = values.shape == target.shape and values.dtype == target.dtype and values.flags.c_contiguous
            if alike and not np.may_share_memory(values, self.block):
                self.result.arrays[key] = values  # of the whole batch, without a second copy
                continue
            if values.shape[1:] != target.shape[1:]:  # a window may have fewer frames than the longest one
                target[rows] = self.work.outputs[key].fill
            place: Any = (rows, *(slice(size) for size in values.shape[1:]))
            target[place] = values

    def _taken(self, places: NDArray[np.intp]) -> NDArray[Any]:
        """Return frames (window, frame, y, x) of the block, of one window without a copy."""
        first, last = int(places.min()), int(places.max()) + 1
        if len(places) == 1 and np.array_equal(places[0], np.arange(first, last)):
            frames = self.block[None, first:last]
            frames.flags.writeable = False  # they are the record's own
            return frames
        return self.block[places]

    def _note_failure(self, error: Exception, row: int) -> None:
        """Raise the error with the name of its window, or mark the window."""
        name = self.batch.name(row)
        if self.work.errors == "raise":
            raise named_error(error, name) from error
        self.result.failures[self.batch.begin + row] = reason_of(error)
        for key, target in self.result.arrays.items():
            target[row] = self.work.outputs[key].fill
        self.result.arrays["status"][row] = Status.DIVERGED if isinstance(error, DivergedError) else Status.FAILED
        logger.error("%s failed: %s", name, reason_of(error))

    def _log(self, rows: NDArray[np.intp], results: Fields) -> None:
        """Log a line a window."""
        if not logger.isEnabledFor(logging.INFO):
            return
        ends = zip(rows, results["status"], results["cost"], results["evaluations"], strict=True)
        for row, status, (before, after), evaluations in ends:
            words = Status(int(status)).word.replace("_", " ")
            line = "%s: %s, J %.4g to %.4g in %d evaluations"
            logger.info(line, self.batch.name(int(row)), words, before, after, evaluations)


def final_state(work: Work, batch: Batch, result: BatchResult, row: int = -1) -> Fields | None:
    """Return the fields that a cycled window takes over from a window; None if that one has no analysis.

    They are made of written outputs alone, so that a chain continues from a store with the same bits.
    """
    if int(result.arrays["status"][row]) in WITHOUT_ANALYSIS:
        return None
    return last_fields(work.by_step(), {name: result.arrays[name][row] for name in work.carried}, batch.end_step(row))


def last_fields(by_step: Mapping[str, bool], fields: Fields, step: int) -> Fields:
    """Return the outputs of a window that the next one takes over, at a step of it; see `Work.by_step`."""
    return {name: np.array(part[step] if by_step[name] else part) for name, part in fields.items()}


def named_error(error: BaseException, name: str) -> Exception:
    """Return an error that names its window; a fault of the input stays an `InputError`."""
    if isinstance(error, InputError):
        return type(error)(
            *(replace(f, index=name if f.index is None else f"index {f.index} of {name}") for f in error.faults)
        )
    return WindowError(f"{name} failed: {reason_of(error)}")


def reason_of(error: BaseException) -> str:
    """Return an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
