"""Windows to a solver and their results back in order: at once for data in memory, as dask tasks for lazy data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xvar.windows import Schedule

logger = logging.getLogger(__name__)

Array = Any  # a numpy or a dask array
Errors = Literal["raise", "continue"]
Solve = Callable[[NDArray[Any], tuple[float, ...]], Mapping[str, NDArray[Any]]]

FAILED = 5


@dataclass(frozen=True)
class Output:
    """Shape of one window of an output variable, its type, and what stands where a window failed."""

    shape: tuple[int, ...]
    dtype: str
    fill: float = np.nan
    steps: bool = False  # whether the first dimension is that of the observation times


@dataclass(frozen=True)
class Batch:
    """Consecutive windows with the same frame times."""

    begin: int
    frames: NDArray[np.intp]  # (window, frame) in the record
    seconds: tuple[float, ...]

    @property
    def first(self) -> int:
        """The first frame that is needed."""
        return int(self.frames.min())

    @property
    def stop(self) -> int:
        """One past the last frame that is needed."""
        return int(self.frames.max()) + 1


def make_batches(schedule: Schedule, size: int) -> Iterator[Batch]:
    """Cut a schedule into batches of at most `size` windows."""
    key: list[tuple[float, ...]] = [()] * len(schedule.frames)
    for windows, seconds in schedule.groups():
        for window in windows:
            key[window] = seconds
    begin = 0
    for end in range(1, len(key) + 1):
        if end == len(key) or key[end] != key[begin] or end - begin == size:
            frames = schedule.frames[begin:end, : len(key[begin])]
            yield Batch(begin, frames, key[begin])
            begin = end


def run_batches(
    solve: Solve, data: Array, schedule: Schedule, outputs: Mapping[str, Output], size: int, errors: Errors
) -> dict[str, Array]:
    """Solve every window of a schedule.

    Parameters
    ----------
    solve : callable (frames (window, frame, y, x), seconds) -> mapping of str to array
        Solves one batch from plain arrays.
    data : array (time, y, x)
        The record; where it is a dask array nothing is computed, and each batch becomes a task that reads no more than
        its own frames.
    schedule : Schedule
        The windows.
    outputs : mapping of str to Output
        What `solve` gives.
    size : int
        Windows of a batch at most.
    errors : {"raise", "continue"}
        Whether a window that fails ends the run, or is marked in `status` and leaves the others alone.

    Returns
    -------
    dict of str to array (window, ...)
    """
    batches = list(make_batches(schedule, size))
    steps = schedule.frames.shape[1]
    if hasattr(data, "dask"):
        return _lazy(solve, data, batches, outputs, steps, errors)
    windows = len(schedule.frames)
    results = {name: np.full((windows, *part.shape), part.fill, part.dtype) for name, part in outputs.items()}
    for batch in batches:
        solved = solve_batch(solve, data[batch.first : batch.stop], batch, outputs, steps, errors)
        for name, values in solved.items():
            results[name][batch.begin : batch.begin + len(values)] = values
    return results


def _lazy(
    solve: Solve, data: Array, batches: list[Batch], outputs: Mapping[str, Output], steps: int, errors: Errors
) -> dict[str, Array]:
    import dask
    import dask.array

    task = dask.delayed(partial(_on_one_thread, solve, outputs=outputs, steps=steps, errors=errors), pure=True)
    parts: dict[str, list[Array]] = {name: [] for name in outputs}
    for batch in batches:
        solved = task(data[batch.first : batch.stop], batch, dask_key_name=f"assimilate-{dask.base.tokenize(solve, data.name, batch.begin, size_of(batch))}")
        for name, part in outputs.items():
            shape = (len(batch.frames), *part.shape)
            parts[name].append(dask.array.from_delayed(solved[name], shape, part.dtype))
    return {name: dask.array.concatenate(arrays) for name, arrays in parts.items()}


def size_of(batch: Batch) -> int:
    """Number of windows."""
    return len(batch.frames)


def _on_one_thread(
    solve: Solve, block: NDArray[Any], batch: Batch, *, outputs: Mapping[str, Output], steps: int, errors: Errors
) -> dict[str, NDArray[Any]]:
    """A batch in a worker, whose threads already share the cores; the bits do not depend on how many there are."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return solve_batch(solve, np.asarray(block), batch, outputs, steps, errors)
    finally:
        torch.set_num_threads(threads)


def solve_batch(
    solve: Solve, block: NDArray[Any], batch: Batch, outputs: Mapping[str, Output], steps: int, errors: Errors
) -> dict[str, NDArray[Any]]:
    """Solve one batch of windows from the frames of the record that it needs."""
    frames = block[batch.frames - batch.first]
    try:
        solved = solve(frames, batch.seconds)
    except Exception as error:
        if errors == "raise":
            end = batch.begin + len(frames) - 1
            error.add_note(f"in windows {batch.begin} to {end}") if hasattr(error, "add_note") else None
            raise
        return _one_by_one(solve, block, batch, outputs, steps, error)
    return {name: _placed(solved[name], part, steps) for name, part in outputs.items()}


def _one_by_one(
    solve: Solve, block: NDArray[Any], batch: Batch, outputs: Mapping[str, Output], steps: int, error: Exception
) -> dict[str, NDArray[Any]]:
    """Find the window that fails, so that it does not take the others of its batch with it."""
    if len(batch.frames) == 1:
        logger.error("window %d failed: %s: %s", batch.begin, type(error).__name__, error)
        results = {name: np.full((1, *part.shape), part.fill, part.dtype) for name, part in outputs.items()}
        results["status"][:] = FAILED
        return results
    singles = [
        Batch(batch.begin + index, batch.frames[index : index + 1], batch.seconds) for index in range(len(batch.frames))
    ]
    solved = [
        solve_batch(solve, block[single.first - batch.first : single.stop - batch.first], single, outputs, steps, "continue")
        for single in singles
    ]
    return {name: np.concatenate([part[name] for part in solved]) for name in outputs}


def _placed(values: NDArray[Any], output: Output, steps: int) -> NDArray[Any]:
    """Values in the type of the output, with fill where a window has fewer frames than the longest."""
    values = np.asarray(values).astype(output.dtype, copy=False)
    if output.steps and values.shape[1] < steps:
        missing = np.full((len(values), steps - values.shape[1], *values.shape[2:]), output.fill, output.dtype)
        values = np.concatenate([values, missing], axis=1)
    return values
