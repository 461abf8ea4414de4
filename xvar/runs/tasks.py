"""The tasks of a run: each solves a batch, writes it and reports."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.execution.batches import WITHOUT_ANALYSIS, Batch, BatchResult, Fields, Work, last_fields
from xvar.execution.dispatch import LazyTasks, assemble, solve_task
from xvar.runs.journal import WriteRecord
from xvar.runs.manifest import frame_digests
from xvar.runs.store import Store, few_numbers, per_window

_FRAMES = "frame_digests"  # beside the outputs of a batch


def _store_windows(
    store: Store,
    own: Mapping[str, str],
    derived: Sequence[str],
    numbers: Sequence[str],
    alone: bool,
    begin: int,
    solved: BatchResult,
    arrays: Sequence[NDArray[Any]],
) -> WriteRecord:
    """Write the windows of a batch from `begin`: `own` outputs of the solver by variable, and `derived` arrays.

    The variables `numbers` have few numbers a window, which the run itself writes; `alone` is as in `Store.write`.
    """
    values = {name: solved.arrays[output] for name, output in own.items()}
    values.update(zip(derived, arrays, strict=True))
    few = {name: values.pop(name) for name in numbers}
    files, chunk = store.write(begin, values, alone=alone)
    return WriteRecord(begin, few, solved.failures, solved.arrays.get(_FRAMES), files, chunk)


def _solve_and_identify(
    work: Work, part: Batch, held: NDArray[np.intp], shape: tuple[int, ...], blocks: list[Any], *before: Any
) -> BatchResult:
    """Solve a part of a batch, and add the digests of its frames."""
    solved = solve_task(work, part, held, shape, blocks, *before)
    solved.arrays[_FRAMES] = _identify(part, held, shape, blocks).arrays[_FRAMES]
    return solved


def _identify(part: Batch, held: NDArray[np.intp], shape: tuple[int, ...], blocks: list[Any]) -> BatchResult:
    """Return the digests of the frames of a part of a batch."""
    frames = assemble([np.asarray(block) for block in blocks], shape)
    return BatchResult({_FRAMES: frame_digests(part, frames, held)})


def _digests(solved: BatchResult) -> NDArray[Any]:
    return solved.arrays[_FRAMES]


def _solve_unless_noted(store: Store, begin: int, end: int, work: Work, part: Batch, *rest: Any) -> BatchResult:
    """Solve a part of a batch; if the store already has the batch, only read what the next window takes over.

    States in the memory of a lost worker would make dask solve their chain again from its beginning.
    """
    if not store.is_noted(begin, end):
        return _solve_and_identify(work, part, *rest)
    last = store.read(part.end - 1, [*work.carried, "status"])
    return BatchResult({name: values[None] for name, values in last.items()})


def frames_tasks(analysis: xr.Dataset, deferred: LazyTasks, wanted: Sequence[int]) -> tuple[dict[Any, Any], list[str]]:
    """Return graph and keys of tasks that give the digests of the frames of batches, without solving anything."""
    from dask.array.optimization import optimize
    from dask.optimization import cull

    whole = {
        key: (_identify, *task[2:6]) if isinstance(task, tuple) and task[0] is solve_task else task
        for key, task in analysis["status"].data.dask.to_dict().items()
    }
    keys = [f"{deferred.keys[index]}-frames" for index in wanted]
    whole |= {key: (_digests, deferred.keys[index]) for key, index in zip(keys, wanted, strict=True)}
    return dict(optimize(cull(whole, keys)[0], keys)), keys


def _stored_state(store: Store, window: int, names: Mapping[str, bool], step: int) -> Fields:
    return last_fields(names, store.read(window, list(names)), step)


def _stored_cycle_states(
    deferred: LazyTasks, store: Store, status: NDArray[np.int8], wanted: Sequence[int]
) -> dict[str, Any]:
    """Tasks that read cycle states of stored windows, by the key of the solving task that each replaces.

    A batch behind a wanted one waits for it.
    """
    assert deferred.work is not None
    tasks: dict[str, Any] = {}
    for index in wanted:
        key, before = deferred.cycle_states[index], deferred.batches[index - 1]
        if key is not None and index - 1 not in wanted:
            last, names = before.end - 1, deferred.work.by_step()
            has_none = int(status[last]) in WITHOUT_ANALYSIS
            tasks[key] = None if has_none else (_stored_state, store, last, names, before.end_step(-1))
    return tasks


def write_tasks(
    analysis: xr.Dataset,
    deferred: LazyTasks,
    store: Store,
    wanted: Sequence[int],
    status: NDArray[np.int8],
    *,
    alone: bool = False,
) -> tuple[dict[Any, Any], dict[str, Batch]]:
    """Return the graph of the wanted batches of a lazy analysis, and batches by the keys of tasks that write them.

    A task returns a `WriteRecord`. Chains of windows continue from what the store holds, by its `status` (window,);
    `alone` is as in `Store.write`.
    """
    from dask.array.optimization import optimize
    from dask.highlevelgraph import HighLevelGraph
    from dask.optimization import cull

    names = per_window(analysis)
    windows = tuple(len(batch) for batch in deferred.batches)
    own: dict[str, str] = {}
    derived: dict[str, Any] = {}
    for name in names:
        array = analysis[name].data
        if array.name in deferred.outputs:
            own[name] = deferred.outputs[array.name]
        else:
            whole = (windows, *((size,) for size in array.shape[1:]))
            derived[name] = array if array.chunks == whole else array.rechunk(whole)
    numbers = [name for name in names if few_numbers(analysis[name])]
    # Functions inside tasks have names for the dashboard, which objects that can be called have not.
    write = partial(_store_windows, store, own, tuple(derived), numbers, alone)
    layer: dict[Any, Any] = {}
    tasks = {}
    for index in wanted:
        key = f"{deferred.keys[index]}-stored"
        places = [(array.name, index, *(0,) * (array.ndim - 1)) for array in derived.values()]
        layer[key] = (write, deferred.batches[index].begin, deferred.keys[index], places)
        tasks[key] = deferred.batches[index]
    below = HighLevelGraph.merge(*(analysis[name].data.dask for name in names), *(a.dask for a in derived.values()))
    name = f"store-{deferred.keys[0]}"
    graph = HighLevelGraph({**below.layers, name: layer}, {**below.dependencies, name: set(below.layers)})
    # Tasks that nobody asks for go first, so that what is left of a batch becomes one task.
    cycle_states = _stored_cycle_states(deferred, store, status, wanted)
    needed = cull({**graph.to_dict(), **cycle_states}, list(tasks))[0]
    assert deferred.work is not None
    ends = [batch.end for batch in deferred.batches]
    for key, task in needed.items():
        if isinstance(task, tuple) and task[0] is solve_task:
            if deferred.work.carried and not alone:
                batch = deferred.batches[bisect_right(ends, task[2].begin)]
                needed[key] = (_solve_unless_noted, store, batch.begin, batch.end, *task[1:])
            elif not deferred.in_memory:  # those of a record in memory are known
                needed[key] = (_solve_and_identify, *task[1:])
    return dict(optimize(needed, list(tasks))), tasks
