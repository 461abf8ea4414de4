"""Dask graph of a record: one task for each batch of windows, which reads its own frames and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.execution import workers
from xvar.execution.batches import Batch, BatchResult, Fields, LazyTasks, Work, final_state, solve_batch
from xvar.execution.devices import take_device


def lazy_batches(work: Work, data: Any, batches: list[Batch], deferred: LazyTasks | None = None) -> dict[str, Any]:
    """Return dask arrays (window, ...) of the outputs of all batches, which have equal sizes but for the last.

    The graph has a task for each batch and, for each output of it, one that takes the array out. It is written as plain
    dictionaries: with ``delayed`` and ``from_delayed`` a year of frames would take minutes. The settings of all batches
    are in the graph once. A record (time, y, x) in memory becomes a dask array. `deferred` receives batches and keys.
    """
    import dask.array
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    # What would fail in the workers is reported at the call.
    threads = workers.local_threads()
    if threads is not None:
        workers.warn_if_crowded(threads)
    if workers.active_client() is not None:
        workers.refuse_unpicklable(work.solve)
    if not hasattr(data, "dask"):
        data = dask.array.from_array(data, chunks=(max(1, len(batches[0].needed)), *data.shape[1:]))
    windows = [(b.begin, b.needed, b.frames, b.seconds, b.starts, b.lead, b.elapsed) for b in batches]
    token = tokenize(work.solve, work.outputs, work.errors, data.name, windows)
    tasks = _Tasks(data, token, digits=max(4, len(str(batches[-1].end - 1))))
    tasks.layer[tasks.settings] = work
    for batch in batches:
        tasks.add(batch)
    if deferred is not None:
        deferred.batches, deferred.work = batches, work
        deferred.keys, deferred.cycle_states = tasks.keys, tasks.cycle_states
    name = f"assimilate-windows-{token}"
    below = data.__dask_graph__()
    layers = {**below.layers, name: tasks.layer}
    dependencies = {**below.dependencies, name: set(data.__dask_layers__())}
    chunks = tuple(len(batch) for batch in batches)
    arrays = {}
    for output, part in work.outputs.items():
        own, rest = f"{output}-{token}", (0,) * len(part.shape)
        take = partial(_output, output)
        pieces: dict[Any, Any] = {(own, index, *rest): (take, key) for index, key in enumerate(tasks.keys)}
        graph = HighLevelGraph({**layers, own: pieces}, {**dependencies, own: {name}})
        sizes = (chunks, *((size,) for size in part.shape))
        arrays[output] = dask.array.Array(graph, own, sizes, dtype=part.dtype)
        if deferred is not None:
            deferred.outputs[own] = output
    return arrays


def _output(name: str, result: BatchResult) -> NDArray[Any]:
    """Return one array of the results of a batch."""
    return result.arrays[name]


@dataclass
class _Tasks:
    """Tasks of the batches of a record (time, y, x).

    A batch in which chains of cycled windows begin is joined of a task for each of them, so that chains stay
    independent. A batch that continues a chain takes the final state of the batch before, from a task of its own.
    """

    data: Any
    token: str  # of the call
    digits: int  # of window numbers in keys
    layer: dict[Any, Any] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)  # of the task of each batch
    cycle_states: list[str | None] = field(default_factory=list)  # of the task of the state that each batch takes over
    last: tuple[Batch, str] | None = None  # the last chain, and its task

    def __post_init__(self) -> None:
        self.settings = f"assimilate-options-{self.token}"
        self.bounds = np.concatenate([[0], np.cumsum(self.data.chunks[0])])
        self.planes = tuple(len(chunks) for chunks in self.data.chunks[1:])

    def add(self, batch: Batch) -> None:
        """Add the tasks of a batch."""
        number, key = len(self.keys), f"assimilate-{self._name(batch)}"
        state = None
        if batch.is_continued and self.last is not None:
            state = f"final-state-of-window-{batch.begin - 1:0{self.digits}d}-{self.token}"
            self.layer[state] = (final_state, self.settings, *self.last)
        chains = batch.chains()
        names = [key] if len(chains) == 1 else [f"assimilate-part-{self._name(chain)}" for chain in chains]
        for index, (chain, own) in enumerate(zip(chains, names, strict=True)):
            blocks, held = self._frames(chain, (number, index))
            before = None if index else state
            self.layer[own] = (solve_task, self.settings, chain, held, self.planes, blocks, before)
        if len(chains) > 1:
            self.layer[key] = (_join, names)
        self.keys.append(key)
        self.cycle_states.append(state)
        self.last = chains[-1], names[-1]

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
                    self.layer[cut] = (getitem, block, (slice(start, stop), *everything))
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
        take_device(work.device)
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
