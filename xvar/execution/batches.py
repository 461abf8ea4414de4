"""Batches of windows: what a solver receives, what it returns, and windows that fail without disturbing the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xvar.errors import DivergedError, InputError, Status
from xvar.execution import workers
from xvar.execution.schedule import Schedule

logger = logging.getLogger(__name__)

Array = Any  # a numpy or a dask array
Errors = Literal["raise", "continue"]
Fields = Mapping[str, NDArray[Any]]

WITHOUT_ANALYSIS = (Status.NOT_RUN, Status.DIVERGED, Status.FAILED)  # no window can be cycled from these


class WindowError(RuntimeError):
    """A window could not be analysed; the message names it, and the error that it met is the cause."""


@dataclass(frozen=True)
class CycleState:
    """State that a cycled window takes over from the window before it.

    Attributes
    ----------
    fields : mapping of str to array (y, x)
        Variables of that analysis at its last frame, in the order of the input.
    lead : float
        Seconds from that frame to the first of this window.
    elapsed : float
        Seconds from the first frame of that window to the first of this one.
    """

    fields: Fields
    lead: float
    elapsed: float


@dataclass(frozen=True)
class WindowBatch:
    """Windows with the same frame times, as plain arrays: the input of a solver.

    Attributes
    ----------
    frames : array (window, frame, y, x)
        In the order of the input, NaN where nothing was observed.
    seconds : tuple of float
        Time of each frame after the first of its window.
    numbers : array of int (window, frame)
        Number of each frame in the record.
    begin : array of float (window,)
        Seconds from the first frame of the record to the first frame of each window.
    cycle_state : CycleState, optional
        Of the one window of the batch, if windows are cycled.
    """

    frames: NDArray[Any]
    seconds: tuple[float, ...]
    numbers: NDArray[np.intp]
    begin: NDArray[np.float64]
    cycle_state: CycleState | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def longest_interval(self) -> float:
        """Return the longest time between two frames, in seconds."""
        return float(np.diff(self.seconds).max())


Solve = Callable[[WindowBatch], Fields]


@dataclass(frozen=True)
class Output:
    """Shape of one window of an output variable, its type, and its value if the window failed."""

    shape: tuple[int, ...]
    dtype: str
    fill: float = np.nan

    def empty(self, windows: int) -> NDArray[Any]:
        """Return an array (window, ...) without results."""
        return np.full((windows, *self.shape), self.fill, self.dtype)


@dataclass(frozen=True)
class Batch:
    """Consecutive windows that make one task.

    Attributes
    ----------
    begin : int
        Number of the first window.
    needed : ndarray of int (frame,)
        Frames of the record that the windows hold, ascending.
    frames : ndarray of int (window, step)
        Place in `needed` of each frame; -1 if a window has fewer.
    seconds : ndarray of float (window, step)
        Time of each frame after the first of its window.
    starts : ndarray of float (window,)
        Seconds from the first frame of the record to the first frame of each window.
    spans : ndarray (window, 2) or None
        Dates of the first and the last frame, for messages.
    lead, elapsed : ndarray of float (window,) or None
        See `Schedule`.
    """

    begin: int
    needed: NDArray[np.intp]
    frames: NDArray[np.intp]
    seconds: NDArray[np.float64]
    starts: NDArray[np.float64]
    spans: NDArray[Any] | None = None
    lead: NDArray[np.float64] | None = None
    elapsed: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def end(self) -> int:
        """Return the number after that of the last window."""
        return self.begin + len(self.frames)

    def name(self, row: int) -> str:
        """Return the name of a window for messages."""
        label = f"window {self.begin + row}"
        if self.spans is None:
            return label
        first, last = (str(moment).partition(".")[0] for moment in self.spans[row])
        return f"{label} ({first} to {last})"

    @property
    def is_continued(self) -> bool:
        """Return whether the first window is cycled from the last one of the batch before."""
        return self.lead is not None and bool(np.isfinite(self.lead[0]))

    def chains(self) -> list[Batch]:
        """Cut the batch at the beginnings of chains of cycled windows."""
        if self.lead is None:
            return [self]
        cuts = [0, *(int(row) + 1 for row in np.flatnonzero(np.isnan(self.lead[1:]))), len(self)]
        return [self._rows(begin, end) for begin, end in pairwise(cuts)]

    def _rows(self, begin: int, end: int) -> Batch:
        part = Schedule(self.frames, self.seconds, self.lead, self.elapsed).rows(begin, end)
        frames = np.where(part.frames >= 0, self.needed[part.frames], -1)
        spans = None if self.spans is None else self.spans[begin:end]
        return _batch(self.begin + begin, frames, part, self.starts[begin:end], spans)

    def groups(self, together: int) -> Iterator[tuple[NDArray[np.intp], tuple[float, ...]]]:
        """Yield rows with the same frame times, at most `together` at once, and those times."""
        for rows, seconds in Schedule(self.frames, self.seconds).groups():
            for begin in range(0, len(rows), together):
                yield rows[begin : begin + together], seconds


def _batch(
    begin: int, frames: NDArray[np.intp], part: Schedule, starts: NDArray[np.float64], spans: NDArray[Any] | None
) -> Batch:
    """Make a batch of windows of a schedule, given by their frames in the record."""
    needed = np.unique(frames[frames >= 0])
    local = np.where(frames >= 0, np.searchsorted(needed, frames), -1)
    return Batch(begin, needed, local, part.seconds, starts, spans, part.lead, part.elapsed)


@dataclass(frozen=True)
class Work:
    """Settings of a call that are the same for each of its batches.

    Attributes
    ----------
    solve : callable (WindowBatch) -> mapping of str to array (window, ...)
        Solver of windows with the same frame times.
    outputs : mapping of str to Output
        Table of its results; ``status`` is among them.
    errors : {"raise", "continue"}
        Whether a window that fails ends the run, or is marked in ``status``.
    together : int
        Windows that are minimised together at most.
    device : str, optional
        Device of torch.
    carried : tuple of str
        Outputs that a cycled window takes over from the window before.
    """

    solve: Solve
    outputs: Mapping[str, Output]
    errors: Errors
    together: int
    device: str | None = None
    carried: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # Any scheduler that sends work to another process, also a user's own, reports what cannot be pickled.
        workers.refuse_unpicklable(self.solve)
        return type(self), (self.solve, self.outputs, self.errors, self.together, self.device, self.carried)


@dataclass(frozen=True)
class BatchResult:
    """Results of a batch.

    Attributes
    ----------
    arrays : dict of str to ndarray (window, ...)
        By output.
    failures : dict of int to str
        Number of each window that failed, and the reason.
    """

    arrays: dict[str, NDArray[Any]]
    failures: dict[int, str] = field(default_factory=dict)


def make_batches(
    schedule: Schedule, size: int, seconds: NDArray[np.float64], times: NDArray[Any] | None = None
) -> list[Batch]:
    """Cut a schedule into batches of `size` windows; the last may be smaller.

    Parameters
    ----------
    schedule : Schedule
        The windows.
    size : int
        Windows of a batch.
    seconds : ndarray of float (frame,)
        Times of the frames of the record, in seconds.
    times : ndarray (frame,), optional
        Dates of the frames, for messages.
    """
    first, last = schedule.frames[:, 0], schedule.frames.max(axis=1)
    spans = None if times is None else np.stack([times[first], times[last]], axis=1)
    starts = seconds[first] - seconds[0]
    return [
        _batch(
            begin,
            schedule.frames[rows],
            schedule.rows(begin, begin + size),
            starts[rows],
            None if spans is None else spans[rows],
        )
        for begin in range(0, len(schedule.frames), size)
        for rows in [slice(begin, begin + size)]
    ]


@dataclass
class LazyTasks:
    """Tasks of a call made inside `deferred`, to be computed piece by piece.

    Attributes
    ----------
    batches : list of Batch
        Its batches.
    keys : list of str
        The task of each; it gives a `BatchResult`.
    cycle_states : list of str or None
        The task that gives the state which a batch takes over from the batch before; None if there is none.
    work : Work or None
        The settings.
    outputs : dict of str to str
        Output that each dask array holds, by the name of the array.
    """

    batches: list[Batch] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    cycle_states: list[str | None] = field(default_factory=list)
    work: Work | None = None
    outputs: dict[str, str] = field(default_factory=dict)


def solve_batch(
    work: Work, batch: Batch, block: NDArray[Any], held: NDArray[np.intp], before: Fields | None = None
) -> BatchResult:
    """Solve the windows of one batch.

    Parameters
    ----------
    work : Work
        The settings.
    batch : Batch
        The windows.
    block : ndarray (frame, y, x)
        Frames of the record.
    held : ndarray of int (frame,)
        Numbers of these frames in the record: all that the batch needs, and perhaps others.
    before : mapping of str to ndarray (y, x), optional
        Final state of the window before the first, see `final_state`.
    """
    return _BatchSolver(work, batch, block, np.searchsorted(held, batch.needed)).solve(before)


@dataclass
class _BatchSolver:
    """One call of `solve_batch`."""

    work: Work
    batch: Batch
    block: NDArray[Any]
    place: NDArray[np.intp]

    def __post_init__(self) -> None:
        outputs = self.work.outputs.items()
        self.result = BatchResult({name: output.empty(len(self.batch)) for name, output in outputs})

    def solve(self, before: Fields | None) -> BatchResult:
        """Solve all windows: cycled ones in their order, others together."""
        if self.batch.lead is not None:
            self._solve_chain(before)
        else:
            for rows, seconds in self.batch.groups(self.work.together):
                self._solve_rows(rows, seconds)
        return self.result

    def _solve_chain(self, before: Fields | None) -> None:
        batch = self.batch
        assert batch.lead is not None
        assert batch.elapsed is not None
        for row in range(len(batch)):
            is_cycled = before is not None and bool(np.isfinite(batch.lead[row]))
            state = CycleState(before or {}, float(batch.lead[row]), float(batch.elapsed[row])) if is_cycled else None
            count = int((batch.frames[row] >= 0).sum())
            seconds = tuple(float(second) for second in np.round(batch.seconds[row, :count], 3))
            self._solve_rows(np.array([row]), seconds, state)
            before = final_state(self.work, batch, self.result, row)

    def _solve_rows(
        self, rows: NDArray[np.intp], seconds: tuple[float, ...], cycle_state: CycleState | None = None
    ) -> None:
        """Solve windows together; if that fails, each alone, to find the one that fails."""
        frames = self.batch.frames[rows, : len(seconds)]
        windows = WindowBatch(
            self.block[self.place[frames]], seconds, self.batch.needed[frames], self.batch.starts[rows], cycle_state
        )
        try:
            results = self.work.solve(windows)
        except Exception as error:  # noqa: BLE001 -- any failure stays with its window
            if len(rows) > 1:
                for index in range(len(rows)):
                    self._solve_rows(rows[index : index + 1], seconds)
                return
            self._note_failure(error, int(rows[0]))
            return
        self._log(rows, results)
        for key, target in self.result.arrays.items():
            values = results[key]
            if target.ndim > 1 and values.shape[1] < target.shape[1]:  # fewer frames than the longest window has
                target[rows, : values.shape[1]] = values
            else:
                target[rows] = values

    def _note_failure(self, error: Exception, row: int) -> None:
        """Raise the error with the name of its window, or mark the window."""
        name = self.batch.name(row)
        if self.work.errors == "raise":
            raise named_error(error, name) from error
        self.result.failures[self.batch.begin + row] = reason_of(error)
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
    count = int((batch.frames[row] >= 0).sum())
    fields = {name: result.arrays[name][row] for name in work.carried}
    return last_fields(fields, count, int(result.arrays["status"][row]))


def last_fields(fields: Fields, frames: int, status: int) -> Fields | None:
    """Return the fields of a window at the last of its frames; None if there is no analysis."""
    if status in WITHOUT_ANALYSIS:
        return None
    return {name: np.array(part[frames - 1] if part.ndim == 3 else part) for name, part in fields.items()}


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
