"""Dispatch of windows: solved at once in this process, or as tasks of dask if the record is lazy.

Each batch of windows becomes one task, which reads its own frames and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.execution import workers
from xvar.execution.batches import Array, Batch, BatchResult, Fields, Work, final_state, make_batches, solve_batch
from xvar.execution.schedule import Schedule

#: Points of a grid from which on torch's own threads are worth their cost: two take 0.9 of the time of one at 256 x 256
#: and 0.75 at 512 x 512, for twice the CPU time, and wait for one another where a machine is busy.
MIN_POINTS_FOR_THREADS = 2**17


@dataclass
class LazyTasks:
    """Tasks of a call made inside `deferred`, to be computed piece by piece."""

    batches: list[Batch] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)  # of the task of each batch; it gives a `BatchResult`
    cycle_states: list[str | None] = field(default_factory=list)  # of the task of the state that a batch takes over
    work: Work | None = None
    outputs: dict[str, str] = field(default_factory=dict)  # by the name of the dask array
    in_memory: bool = False  # True for a record that is no dask array


_deferred: ContextVar[LazyTasks | None] = ContextVar("deferred", default=None)


@contextmanager
def deferred() -> Iterator[LazyTasks]:
    """Make a call inside lazy, whether its data are in memory or not, and note its tasks."""
    tasks = LazyTasks()
    token = _deferred.set(tasks)
    try:
        yield tasks
    finally:
        _deferred.reset(token)


def is_deferred() -> bool:
    """Return True inside a call of `deferred`."""
    return _deferred.get() is not None


def run_batches(
    work: Work,
    data: Array,
    schedule: Schedule,
    size: int,
    seconds: NDArray[np.float64],
    times: NDArray[Any] | None = None,
) -> dict[str, Array]:
    """Solve every window of a schedule, in tasks of `size` windows; return arrays (window, ...) by output.

    The record (time, y, x) has frames at `seconds` (time,), and `times` for messages. If it is a dask array nothing is
    computed, and each batch becomes a task that reads its own frames.
    """
    tasks = _deferred.get()
    if tasks is None and not hasattr(data, "dask"):
        (whole,) = make_batches(schedule, len(schedule.frames), seconds, times)
        workers.refuse_fork()
        workers.take_device(work.device)
        small = math.prod(data.shape[1:]) < MIN_POINTS_FOR_THREADS
        with workers.one_torch_thread() if small else nullcontext():
            return solve_batch(work, whole, data, np.arange(len(data))).arrays
    return lazy_batches(work, data, make_batches(schedule, size, seconds, times), tasks)


def lazy_batches(work: Work, data: Any, batches: list[Batch], deferred: LazyTasks | None = None) -> dict[str, Any]:
    """Return dask arrays (window, ...) of the outputs of all batches, which have equal sizes but for the last.

    The graph has a task for each batch and, for each output of it, one that takes the array out. It is written as plain
    dictionaries: with ``delayed`` and ``from_delayed`` a year of frames would take minutes. The settings of all batches
    are in the graph once. A record (time, y, x) in memory becomes a dask array. `deferred` receives batches and keys.
    """
    import dask.array
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    from xvar.execution.empty import COUNTS, Counts

    # What would fail in the workers is reported at the call.
    threads = workers.local_threads()
    if threads is not None:
        workers.warn_if_crowded(threads)
    if workers.active_client() is not None:
        workers.refuse_unpicklable(work.solve)
    noted = LazyTasks() if deferred is None else deferred
    if not hasattr(data, "dask"):
        noted.in_memory = True
        data = dask.array.from_array(data, chunks=(max(1, len(batches[0].needed)), *data.shape[1:]))
    windows = [(b.begin, b.needed, b.frames, b.seconds, b.starts, b.lead, b.elapsed, b.shared) for b in batches]
    token = tokenize(work.solve, work.outputs, work.errors, data.name, windows)
    noted.batches, noted.work = batches, work
    layer = _Layer(data, token, digits=max(4, len(str(batches[-1].end - 1))))
    layer.tasks[layer.settings] = work
    added = [layer.add(batch) for batch in batches]
    noted.keys, noted.cycle_states = [key for key, _ in added], [state for _, state in added]
    name = f"assimilate-windows-{token}"
    below = data.__dask_graph__()
    layers = {**below.layers, name: layer.tasks}
    dependencies = {**below.dependencies, name: set(data.__dask_layers__())}
    chunks = tuple(len(batch) for batch in batches)
    arrays = {}
    for output, part in work.outputs.items():
        own, rest = f"{output}-{token}", (0,) * len(part.shape)
        take = partial(_output, output)
        pieces: Mapping[Any, Any] = {(own, index, *rest): (take, key) for index, key in enumerate(noted.keys)}
        if output == COUNTS and work.errors == "raise" and deferred is None:
            pieces = Counts(pieces)
        graph = HighLevelGraph({**layers, own: pieces}, {**dependencies, own: {name}})
        sizes = (chunks, *((size,) for size in part.shape))
        arrays[output] = dask.array.Array(graph, own, sizes, dtype=part.dtype)
        noted.outputs[own] = output
    return arrays


def _output(name: str, result: BatchResult) -> NDArray[Any]:
    """Return one array of the results of a batch."""
    return result.arrays[name]


@dataclass
class _Layer:
    """Tasks of the batches of a record (time, y, x).

    A batch in which chains of cycled windows begin is joined of a task for each of them, so that chains stay
    independent. A batch that continues a chain takes the final state of the batch before, from a task of its own.
    """

    data: Any
    token: str  # of the call
    digits: int  # of window numbers in keys
    tasks: dict[Any, Any] = field(default_factory=dict)
    batches: int = 0  # that were added
    last: tuple[Batch, str] | None = None  # the last chain, and its task

    def __post_init__(self) -> None:
        self.settings = f"assimilate-options-{self.token}"
        self.bounds = np.concatenate([[0], np.cumsum(self.data.chunks[0])])
        self.planes = tuple(len(chunks) for chunks in self.data.chunks[1:])

    def add(self, batch: Batch) -> tuple[str, str | None]:
        """Add the tasks of a batch; return the key of its task, and of that of the state that it takes over, if any."""
        key = f"assimilate-{self._name(batch)}"
        state = None
        if batch.is_continued and self.last is not None:
            state = f"final-state-of-window-{batch.begin - 1:0{self.digits}d}-{self.token}"
            self.tasks[state] = (final_state, self.settings, *self.last)
        chains = batch.chains()
        names = [key] if len(chains) == 1 else [f"assimilate-part-{self._name(chain)}" for chain in chains]
        for index, (chain, own) in enumerate(zip(chains, names, strict=True)):
            blocks, held = self._frames(chain, (self.batches, index))
            before = None if index else state
            self.tasks[own] = (solve_task, self.settings, chain, held, self.planes, blocks, before)
        if len(chains) > 1:
            self.tasks[key] = (_join, names)
        self.batches += 1
        self.last = chains[-1], names[-1]
        return key, state

    def _name(self, part: Batch) -> str:
        return f"windows-{part.begin:0{self.digits}d}-to-{part.end - 1:0{self.digits}d}-{self.token}"

    def _frames(self, part: Batch, number: tuple[int, int]) -> tuple[list[Any], NDArray[np.intp]]:
        """Return the keys of the frames that windows need, and their numbers in the record."""
        from dask.array.chunk import getitem  # dask fuses it with the reading of a chunk: other frames are not read

        everything = (slice(None),) * len(self.planes)
        ends = part.needed[[0, -1]]
        first, last = (int(chunk) - 1 for chunk in np.searchsorted(self.bounds, ends, side="right"))
        blocks: list[Any] = []
        held: list[NDArray[np.intp]] = []
        for chunk in range(first, last + 1):
            low, high = int(self.bounds[chunk]), int(self.bounds[chunk + 1])
            begin, end = np.searchsorted(part.needed, [low, high])
            if begin == end:
                continue
            start, stop = int(part.needed[begin]) - low, int(part.needed[end - 1]) + 1 - low
            held.append(np.arange(low + start, low + stop))
            for place in np.ndindex(self.planes):
                block: Any = (self.data.name, chunk, *place)
                if (start, stop) != (0, high - low):
                    cut = (f"frames-{self.token}", *number, chunk, *place)
                    self.tasks[cut] = (getitem, block, (slice(start, stop), *everything))
                    block = cut
                blocks.append(block)
        return blocks, np.concatenate(held)


def solve_task(
    work: Work,
    batch: Batch,
    held: NDArray[np.intp],
    planes: tuple[int, ...],
    blocks: list[NDArray[Any]],
    before: Fields | None = None,
) -> BatchResult:
    """Solve a batch in a worker, whose threads already share the cores; bits do not depend on their number."""
    workers.refuse_fork()
    with workers.one_torch_thread():
        workers.take_device(work.device)
        frames = assemble([np.asarray(block) for block in blocks], planes)
        return solve_batch(work, batch, frames, held, before)


def _join(parts: list[BatchResult]) -> BatchResult:
    """Join the chains of a batch."""
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays}
    return BatchResult(arrays, {window: reason for part in parts for window, reason in part.failures.items()})


def assemble(blocks: list[NDArray[Any]], planes: tuple[int, ...]) -> NDArray[Any]:
    """Join chunks, in the order of time and then of the other dimensions, which are cut into `planes` parts."""
    for axis in range(len(planes), 0, -1):
        size = planes[axis - 1]
        if size > 1:
            blocks = [np.concatenate(blocks[i : i + size], axis=axis) for i in range(0, len(blocks), size)]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
