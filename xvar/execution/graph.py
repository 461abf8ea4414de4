"""The dask graph of a record: one task a batch of windows, which reads its own frames and nothing else."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.execution import workers
from xvar.execution.batches import Batch, BatchResult, Fields, LazyTasks, Work, final_state, solve_batch
from xvar.execution.devices import take_device

Layer = dict[Any, Any]


def lazy_batches(work: Work, data: Any, batches: list[Batch], deferred: LazyTasks | None = None) -> dict[str, Any]:
    """Dask arrays of the outputs of all batches.

    The graph has a task for each batch and, for each output of it, one that takes the array out. It is written as
    plain dictionaries: through ``delayed`` and ``from_delayed`` a year of frames would take minutes. What all batches
    share stands in the graph once.

    Parameters
    ----------
    work : Work
        How batches are solved.
    data : array (time, ..., y, x)
        The record, a dask array; an array in memory becomes one.
    batches : list of Batch
        Of equal size but for the last.
    deferred : LazyTasks, optional
        Takes the batches and their keys.

    Returns
    -------
    dict of str to dask array (window, ...)
    """
    import dask.array
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    _look_at_workers(work)
    if not hasattr(data, "dask"):
        data = dask.array.from_array(data, chunks=(max(1, len(batches[0].needed)), *data.shape[1:]))
    token = tokenize(
        work.solve,
        work.outputs,
        work.errors,
        data.name,
        [(b.begin, b.needed, b.frames, b.seconds, b.starts, b.lead, b.elapsed) for b in batches],
    )
    name = f"assimilate-windows-{token}"
    layer, keys, cycle_states = _batch_tasks(work, data, batches, token)
    if deferred is not None:
        deferred.batches, deferred.keys, deferred.cycle_states, deferred.work = batches, keys, cycle_states, work
    below = data.__dask_graph__()
    layers: dict[str, Any] = {**below.layers, name: layer}
    dependencies = {**below.dependencies, name: set(data.__dask_layers__())}
    windows = tuple(len(batch) for batch in batches)
    arrays = {}
    for output, part in work.outputs.items():
        own = f"{output}-{token}"
        rest = (0,) * len(part.shape)
        take = partial(_output, output)
        pieces: dict[Any, Any] = {(own, index, *rest): (take, key) for index, key in enumerate(keys)}
        whole = HighLevelGraph({**layers, own: pieces}, {**dependencies, own: {name}})
        chunks = (windows, *((size,) for size in part.shape))
        arrays[output] = dask.array.Array(whole, own, chunks, dtype=part.dtype)
        if deferred is not None:
            deferred.outputs[own] = output
    return arrays


def _output(name: str, solved: BatchResult) -> NDArray[Any]:
    """One array out of the results of a batch."""
    return solved.arrays[name]


def _look_at_workers(work: Work) -> None:
    """Say at the call what would go wrong in the workers."""
    threads = workers.local_threads()
    if threads is not None:
        workers.warn_if_crowded(threads)
    if workers.active_client() is not None:
        workers.refuse_unpicklable(work.solve)


def _batch_tasks(work: Work, data: Any, batches: list[Batch], token: str) -> tuple[Layer, list[str], list[str | None]]:
    """Tasks of the batches, with those that cut their frames out of chunks, and the keys of the batches.

    A batch in which chains begin is put together of a task for each of them, so that chains stay independent. A batch
    in the middle of one takes over what the batch before it hands on, by a task of its own, whose key is given too.
    """
    from dask.array.chunk import (
        getitem,
    )  # what dask joins with the reading of a chunk, so that only these frames are read

    shared = f"assimilate-options-{token}"
    layer: Layer = {shared: work}
    bounds = np.concatenate([[0], np.cumsum(data.chunks[0])])
    shape = tuple(len(chunks) for chunks in data.chunks[1:])
    planes = list(np.ndindex(shape))
    everything = (slice(None),) * len(shape)
    digits = max(4, len(str(batches[-1].end - 1)))
    keys: list[str] = []
    cycle_states: list[str | None] = []
    last_part: tuple[Batch, str] | None = None

    def name(part: Batch) -> str:
        return f"windows-{part.begin:0{digits}d}-to-{part.end - 1:0{digits}d}-{token}"

    def frames_of(part: Batch, number: tuple[int, int]) -> tuple[list[Any], NDArray[np.intp]]:
        """Keys of the frames that windows need, and which frames those are."""
        first = int(np.searchsorted(bounds, part.needed[0], side="right")) - 1
        last = int(np.searchsorted(bounds, part.needed[-1], side="right")) - 1
        blocks: list[Any] = []
        held: list[NDArray[np.intp]] = []
        for chunk in range(first, last + 1):
            low, high = int(bounds[chunk]), int(bounds[chunk + 1])
            begin, end = np.searchsorted(part.needed, [low, high])
            if begin == end:
                continue
            start, stop = int(part.needed[begin]) - low, int(part.needed[end - 1]) + 1 - low
            held.append(np.arange(low + start, low + stop))
            for place in planes:
                block: Any = (data.name, chunk, *place)
                if (start, stop) != (0, high - low):
                    own = (f"frames-{token}", *number, chunk, *place)
                    layer[own] = (getitem, block, (slice(start, stop), *everything))
                    block = own
                blocks.append(block)
        return blocks, np.concatenate(held)

    for index, batch in enumerate(batches):
        keys.append(f"assimilate-{name(batch)}")
        cycle_state = None
        if batch.is_continued and last_part is not None:
            cycle_state = f"hand-on-window-{batch.begin - 1:0{digits}d}-{token}"
            layer[cycle_state] = (final_state, shared, *last_part)
        cycle_states.append(cycle_state)
        parts = batch.chains()
        names = keys[-1:] if len(parts) == 1 else [f"assimilate-part-{name(part)}" for part in parts]
        for number, (part, key) in enumerate(zip(parts, names, strict=True)):
            blocks, held = frames_of(part, (index, number))
            layer[key] = (solve_task, shared, part, held, shape, blocks, None if number else cycle_state)
        if len(parts) > 1:
            layer[keys[-1]] = (_join_task, names)
        last_part = parts[-1], names[-1]
    return layer, keys, cycle_states


def solve_task(
    work: Work,
    batch: Batch,
    held: NDArray[np.intp],
    shape: tuple[int, ...],
    blocks: list[NDArray[Any]],
    before: Fields | None = None,
) -> BatchResult:
    """A batch in a worker, whose threads already share the cores; the bits do not depend on how many there are."""
    workers.refuse_fork()
    with workers.one_torch_thread():
        take_device(work.device)
        frames = _assembled([np.asarray(block) for block in blocks], shape)
        return solve_batch(work, batch, frames, held, before)


def _join_task(parts: list[BatchResult]) -> BatchResult:
    """A batch of the parts that chains cut it into."""
    arrays = {name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays}
    return BatchResult(arrays, {window: reason for part in parts for window, reason in part.failures.items()})


def _assembled(blocks: list[NDArray[Any]], shape: tuple[int, ...]) -> NDArray[Any]:
    """One array of chunks in the order of their dimensions, the first being time, the others cut into `shape`."""
    if len(blocks) == 1:
        return blocks[0]
    for axis in range(len(shape), 0, -1):
        size = shape[axis - 1]
        blocks = (
            [np.concatenate(blocks[i : i + size], axis=axis) for i in range(0, len(blocks), size)]
            if size > 1
            else blocks
        )
    return np.concatenate(blocks)
