"""Windows to a solver in batches, and their results back in order; what fails stays with its own window."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xvar.cf.metadata import STATUS
from xvar.errors import DivergedError, InputError
from xvar.execution import workers
from xvar.execution.schedule import Schedule
from xvar.plan.bridge import CycleState

logger = logging.getLogger(__name__)

Array = Any  # a numpy or a dask array
Errors = Literal["raise", "continue"]
Solve = Callable[..., Mapping[str, NDArray[Any]]]
Fields = Mapping[str, NDArray[Any]]

NOT_RUN, DIVERGED, FAILED = 0, 4, 5  # of status: see the output contract
WITHOUT_ANALYSIS = (NOT_RUN, DIVERGED, FAILED)  # a chain begins anew behind these


class WindowError(RuntimeError):
    """A window could not be analysed; the message names it, and the error that it met is the cause."""


@dataclass(frozen=True)
class Output:
    """Shape of one window of an output variable, its type, and what stands where a window failed."""

    shape: tuple[int, ...]
    dtype: str
    fill: float = np.nan

    def empty(self, windows: int) -> NDArray[Any]:
        """What stands where there is no result."""
        return np.full((windows, *self.shape), self.fill, self.dtype)


@dataclass(frozen=True)
class Batch:
    """Consecutive windows that make one task.

    Attributes
    ----------
    begin : int
        The first window.
    needed : ndarray of int (frame,)
        Frames of the record that the windows hold, ascending.
    frames : ndarray of int (window, step)
        Place in `needed` of each frame; -1 where a window has fewer.
    seconds : ndarray of float (window, step)
        Time of each frame after the first of its window.
    spans : ndarray (window, 2) or None
        Dates of the first and the last frame, for messages.
    lead, elapsed : ndarray of float (window,) or None
        See `Schedule`.
    """

    begin: int
    needed: NDArray[np.intp]
    frames: NDArray[np.intp]
    seconds: NDArray[np.float64]
    spans: NDArray[Any] | None = None
    lead: NDArray[np.float64] | None = None
    elapsed: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def end(self) -> int:
        """One past the last window."""
        return self.begin + len(self.frames)

    def name(self, row: int) -> str:
        """A window as a message names it."""
        label = f"window {self.begin + row}"
        if self.spans is None:
            return label
        first, last = (_date(moment) for moment in self.spans[row])
        return f"{label} ({first} to {last})"

    @property
    def goes_on(self) -> bool:
        """Whether the first window goes on from the one before it, which is in another batch."""
        return self.lead is not None and bool(np.isfinite(self.lead[0]))

    def parts(self) -> list[Batch]:
        """The windows cut where chains begin; the frames of each part are a stretch of `needed`."""
        if self.lead is None:
            return [self]
        cuts = [0, *(int(row) + 1 for row in np.flatnonzero(np.isnan(self.lead[1:]))), len(self)]
        return [self._rows(begin, end) for begin, end in pairwise(cuts)]

    def _rows(self, begin: int, end: int) -> Batch:
        part = Schedule(self.frames, self.seconds, self.lead, self.elapsed).rows(begin, end)
        frames = np.where(part.frames >= 0, self.needed[part.frames], -1)
        return _batch(self.begin + begin, frames, part, None if self.spans is None else self.spans[begin:end])

    def groups(self, together: int) -> Iterator[tuple[NDArray[np.intp], tuple[float, ...]]]:
        """Rows with the same frame times, at most `together` at once, and those times."""
        part = Schedule(self.frames, self.seconds)
        for rows, seconds in part.groups():
            for begin in range(0, len(rows), together):
                yield rows[begin : begin + together], seconds


def _batch(begin: int, frames: NDArray[np.intp], part: Schedule, spans: NDArray[Any] | None) -> Batch:
    """Windows of a schedule, by their frames in the record."""
    needed = np.unique(frames[frames >= 0])
    local = np.where(frames >= 0, np.searchsorted(needed, frames), -1)
    return Batch(begin, needed, local, part.seconds, spans, part.lead, part.elapsed)


def _date(moment: Any) -> str:
    return str(moment).partition(".")[0]


@dataclass(frozen=True)
class Work:
    """How windows are solved, the same for every batch of a call.

    Attributes
    ----------
    solve : callable (frames (window, frame, y, x), seconds) -> mapping of str to array (window, ...)
        Solves windows with the same frame times, from plain arrays.
    outputs : mapping of str to Output
        What `solve` gives; ``status`` is among it.
    steps : int
        Frames of the longest window.
    errors : {"raise", "continue"}
        Whether a window that fails ends the run, or is marked in ``status`` and leaves the others alone.
    together : int
        Windows that are minimised together at most.
    device : str, optional
        Device of torch.
    carried : tuple of str
        Outputs that the next window of a chain takes over.
    """

    solve: Solve
    outputs: Mapping[str, Output]
    steps: int
    errors: Errors
    together: int
    device: str | None = None
    carried: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # Whoever sends work to another process, a user's own scheduler included, learns what cannot travel.
        workers.refuse_unpicklable(self.solve)
        own = (self.solve, self.outputs, self.steps, self.errors, self.together, self.device, self.carried)
        return type(self), own


@dataclass(frozen=True)
class BatchResult:
    """Results of a batch.

    Attributes
    ----------
    arrays : dict of str to ndarray (window, ...)
        By output.
    failures : dict of int to str
        Window and reason of each that failed.
    """

    arrays: dict[str, NDArray[Any]]
    failures: dict[int, str] = field(default_factory=dict)


def make_batches(schedule: Schedule, size: int, times: NDArray[Any] | None = None) -> list[Batch]:
    """Cut a schedule into batches of `size` windows each; the last may be smaller.

    Parameters
    ----------
    schedule : Schedule
        The windows.
    size : int
        Windows of a batch.
    times : ndarray (frame,), optional
        Dates of the frames, for messages.
    """
    last = schedule.frames.max(axis=1)
    spans = None if times is None else np.stack([times[schedule.frames[:, 0]], times[last]], axis=1)
    return [
        _batch(
            begin,
            schedule.frames[begin : begin + size],
            schedule.rows(begin, begin + size),
            None if spans is None else spans[begin : begin + size],
        )
        for begin in range(0, len(schedule.frames), size)
    ]


@dataclass
class LazyTasks:
    """What a call made inside `deferred` would compute, for whoever runs it piece by piece.

    Attributes
    ----------
    batches : list of Batch
        Its batches.
    keys : list of str
        The task of each; it gives a `BatchResult`.
    cycle_states : list of str or None
        The task that gives what a batch takes over from the one before, where it does.
    work : Work or None
        How they are solved.
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
        How.
    batch : Batch
        The windows.
    block : ndarray (frame, ..., y, x)
        Frames of the record.
    held : ndarray of int (frame,)
        Which frames of the record the block holds: the needed ones, and perhaps others.
    before : mapping of str to ndarray (y, x), optional
        What the window before the first handed on, see `final_state`.
    """
    place = np.searchsorted(held, batch.needed)
    solved = BatchResult({name: output.empty(len(batch)) for name, output in work.outputs.items()})
    if batch.lead is not None:
        _solve_chain(work, batch, block, place, before, solved)
        return solved
    for rows, seconds in batch.groups(work.together):
        frames = batch.frames[rows, : len(seconds)]
        _solve_rows(work, batch, block, place[frames], rows, seconds, solved)
    return solved


def _solve_chain(
    work: Work,
    batch: Batch,
    block: NDArray[Any],
    place: NDArray[np.intp],
    before: Fields | None,
    solved: BatchResult,
) -> None:
    """Solve windows one after the other, each from what the one before hands on."""
    assert batch.lead is not None
    assert batch.elapsed is not None
    for row in range(len(batch)):
        goes_on = before is not None and bool(np.isfinite(batch.lead[row]))
        cycle_state = CycleState(before or {}, float(batch.lead[row]), float(batch.elapsed[row])) if goes_on else None
        count = int((batch.frames[row] >= 0).sum())
        seconds = tuple(float(second) for second in np.round(batch.seconds[row, :count], 3))
        rows, frames = np.array([row]), place[batch.frames[row : row + 1, :count]]
        _solve_rows(work, batch, block, frames, rows, seconds, solved, cycle_state)
        before = final_state(work, batch, solved, row)


def final_state(work: Work, batch: Batch, solved: BatchResult, row: int = -1) -> Fields | None:
    """What the next window of a chain takes over from one: fields at its last frame; None where it has no analysis.

    It is made of what is written and of nothing else, so that a chain goes on from a store with the same bits.
    """
    count = int((batch.frames[row] >= 0).sum())
    fields = {name: solved.arrays[name][row] for name in work.carried}
    return last_fields(fields, count, int(solved.arrays["status"][row]))


def last_fields(fields: Fields, frames: int, status: int) -> Fields | None:
    """Fields of a window at the last of its frames; None where there is no analysis to go on from."""
    if status in WITHOUT_ANALYSIS:
        return None
    return {name: np.array(part[frames - 1] if part.ndim == 3 else part) for name, part in fields.items()}


def _solve_rows(
    work: Work,
    batch: Batch,
    block: NDArray[Any],
    frames: NDArray[np.intp],
    rows: NDArray[np.intp],
    seconds: tuple[float, ...],
    solved: BatchResult,
    *cycle_state: CycleState | None,
) -> None:
    """Solve windows together; where that fails, each on its own, to find the one that takes the others with it."""
    try:
        results = work.solve(block[frames], seconds, *cycle_state)
    except Exception as error:
        if len(rows) > 1:
            for index in range(len(rows)):
                one = slice(index, index + 1)
                _solve_rows(work, batch, block, frames[one], rows[one], seconds, solved)
            return
        name = batch.name(int(rows[0]))
        if work.errors == "raise":
            raise named_error(error, name) from error
        solved.failures[batch.begin + int(rows[0])] = reason_of(error)
        solved.arrays["status"][rows] = DIVERGED if isinstance(error, DivergedError) else FAILED
        logger.error("%s failed: %s", name, reason_of(error))
        return
    _log(batch, rows, results)
    for key, target in solved.arrays.items():
        values = results[key]
        if target.ndim > 1 and values.shape[1] < target.shape[1]:  # fewer frames than the longest window has
            target[rows, : values.shape[1]] = values
        else:
            target[rows] = values


def _log(batch: Batch, rows: NDArray[np.intp], results: Fields) -> None:
    """A line a window for who listens to the logger ``xvar``."""
    if not logger.isEnabledFor(logging.INFO):
        return
    told = zip(rows, results["status"], results["cost"], results["evaluations"], strict=True)
    for row, status, (before, after), evaluations in told:
        words = STATUS[int(status)].replace("_", " ")
        line = "%s: %s, J %.4g to %.4g in %d evaluations"
        logger.info(line, batch.name(int(row)), words, before, after, evaluations)


def named_error(error: BaseException, name: str) -> Exception:
    """An error that names the window it comes from; what is wrong with the input stays an `InputError`."""
    if isinstance(error, InputError):
        faults = error.faults
        return type(error)(
            *(replace(p, index=name if p.index is None else f"index {p.index} of {name}") for p in faults)
        )
    return WindowError(f"{name} failed: {reason_of(error)}")


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
