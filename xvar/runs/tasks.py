"""The tasks of a run: each solves a batch, writes it and reports."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import InputError
from xvar.execution.batches import (
    WITHOUT_ANALYSIS,
    Batch,
    BatchResult,
    Fields,
    LazyTasks,
    WindowError,
    Work,
    last_fields,
    reason_of,
)
from xvar.execution.graph import assemble, solve_task
from xvar.runs.journal import WriteRecord
from xvar.runs.manifest import frame_digests
from xvar.runs.store import Store, few_numbers, nothing_run, per_window

_FRAMES = "frame_digests"  # beside the outputs of a batch


@dataclass(frozen=True)
class _Write:
    """Constants of all tasks that write; `alone` as in `Store.write`.

    `own` maps variables to the solver outputs that they are, `derived` are computed from outputs, `numbers` have few
    numbers a window.
    """

    store: Store
    own: Mapping[str, str]
    derived: tuple[str, ...]
    numbers: frozenset[str]
    alone: bool


def _store_windows(write: _Write, begin: int, solved: BatchResult, arrays: Sequence[NDArray[Any]]) -> WriteRecord:
    values = {name: solved.arrays[output] for name, output in write.own.items()}
    values.update(zip(write.derived, arrays, strict=True))
    numbers = {name: values.pop(name) for name in write.numbers}
    files, chunk = write.store.write(begin, values, alone=write.alone)
    return WriteRecord(begin, numbers, solved.failures, solved.arrays[_FRAMES], files, chunk)


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


def _stored_state(store: Store, window: int, names: Sequence[str], frames: int, status: int) -> Fields | None:
    return last_fields(store.read(window, names), frames, status)


def stored_cycle_states(
    deferred: LazyTasks, store: Store, states: NDArray[np.int8], wanted: Sequence[int]
) -> dict[str, Any]:
    """Tasks that read cycle states of stored windows, by the key of the solving task that each replaces.

    `states` (window,) is the status in the store; a batch behind a `wanted` one waits for it.
    """
    assert deferred.work is not None
    tasks: dict[str, Any] = {}
    for index in wanted:
        key, before = deferred.cycle_states[index], deferred.batches[index - 1]
        if key is None or index - 1 in wanted:
            continue
        window, status = before.end - 1, int(states[before.end - 1])
        if status in WITHOUT_ANALYSIS:
            tasks[key] = None
        else:
            frames = int((before.frames[-1] >= 0).sum())
            tasks[key] = (_stored_state, store, window, list(deferred.work.carried), frames, status)
    return tasks


def write_tasks(
    analysis: xr.Dataset,
    deferred: LazyTasks,
    store: Store,
    wanted: Sequence[int],
    *,
    alone: bool,
    cycle_states: Mapping[str, Any],
) -> tuple[dict[Any, Any], dict[str, Batch]]:
    """Return the graph of the wanted batches of a lazy analysis, and batches by the keys of tasks that write them.

    A task returns a `WriteRecord`. `alone` as in `Store.write`, `cycle_states` from `stored_cycle_states`.
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
    numbers = frozenset(name for name in names if few_numbers(analysis[name]))
    # Functions inside tasks have names for the dashboard, which objects that can be called have not.
    write = partial(_store_windows, _Write(store, own, tuple(derived), numbers, alone))
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
    needed = cull({**graph.to_dict(), **cycle_states}, list(tasks))[0]
    assert deferred.work is not None
    ends = [batch.end for batch in deferred.batches]
    for key, task in needed.items():
        if isinstance(task, tuple) and task[0] is solve_task:
            if deferred.work.carried and not alone:
                batch = deferred.batches[bisect_right(ends, task[2].begin)]
                needed[key] = (_solve_unless_noted, store, batch.begin, batch.end, *task[1:])
            else:
                needed[key] = (_solve_and_identify, *task[1:])
    return dict(optimize(needed, list(tasks))), tasks


def killed(batch: Batch, analysis: xr.Dataset, status: int, reason: str) -> WriteRecord:
    """Return the record of windows that killed their worker."""
    parts = {name: analysis[name] for name in per_window(analysis) if few_numbers(analysis[name])}
    numbers = {
        name: np.full((len(batch), *part.shape[1:]), nothing_run(part), part.dtype) for name, part in parts.items()
    }
    numbers["status"][:] = status
    return WriteRecord(batch.begin, numbers, dict.fromkeys(range(batch.begin, batch.end), reason))


def unreadable(error: BaseException, first: Batch, last: Batch | None = None) -> Exception:
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
