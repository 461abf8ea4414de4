"""The tasks of a run: each solves a batch, writes it and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.batches import Batch, Deferred, Solved
from xvar.runs.stores import Written, few_numbers, per_window


@dataclass(frozen=True)
class Task:
    """A batch with the key of the task that writes it."""

    batch: Batch
    key: str


@dataclass(frozen=True)
class _Write:
    """What is the same in all tasks that write."""

    writer: Any
    fields: tuple[str, ...]
    numbers: tuple[str, ...]
    alone: bool

    def __call__(self, begin: int, arrays: Sequence[NDArray[Any]], solved: Solved) -> Written:
        values = dict(zip((*self.fields, *self.numbers), arrays, strict=True))
        numbers = {name: values.pop(name) for name in self.numbers}
        self.writer(begin, values, numbers, solved.failures, alone=self.alone)
        return Written(begin, numbers, solved.failures)


def write_tasks(
    analysis: xr.Dataset, deferred: Deferred, writer: Any, wanted: Sequence[int], *, alone: bool = False
) -> tuple[dict[Any, Any], list[Task]]:
    """Graph of the batches that are wanted.

    Parameters
    ----------
    analysis : Dataset
        What `assimilate` gives, lazily.
    deferred : Deferred
        Its batches.
    writer : callable
        Of the store.
    wanted : sequence of int
        Which batches.
    alone : bool
        See `ZarrWriter`.

    Returns
    -------
    graph : dict
    tasks : list of Task
        Each gives a `Written`.
    """
    from dask.array.optimization import optimize
    from dask.highlevelgraph import HighLevelGraph

    names = per_window(analysis)
    fields = tuple(name for name in names if not few_numbers(analysis[name]))
    numbers = tuple(name for name in names if few_numbers(analysis[name]))
    windows = tuple(len(batch) for batch in deferred.batches)
    arrays = []
    for name in (*fields, *numbers):
        array = analysis[name].data
        whole = (windows, *((size,) for size in array.shape[1:]))
        arrays.append(array if array.chunks == whole else array.rechunk(whole))
    write = _Write(writer, fields, numbers, alone)
    layer: dict[Any, Any] = {}
    tasks = []
    for index in wanted:
        key = deferred.keys[index].replace("assimilate-", "store-", 1)
        places = [(array.name, index, *(0,) * (array.ndim - 1)) for array in arrays]
        layer[key] = (write, deferred.batches[index].begin, places, deferred.keys[index])
        tasks.append(Task(deferred.batches[index], key))
    below = HighLevelGraph.merge(*(array.dask for array in arrays))
    name = f"store-{arrays[0].name}"
    graph = HighLevelGraph(
        {**below.layers, name: layer},
        {**below.dependencies, name: {array.name for array in arrays} | set(below.layers)},
    )
    return dict(optimize(graph, [task.key for task in tasks])), tasks


@dataclass(frozen=True)
class Alone:
    """A graph as one task, that shares nothing with another: what kills its worker is known by its name."""

    graph: Mapping[Any, Any]
    key: str

    def __call__(self) -> Any:
        from dask.local import get_sync

        return get_sync(self.graph, self.key)


def killed(batch: Batch, analysis: xr.Dataset, status: int, reason: str) -> Written:
    """What stands for windows that killed their worker."""
    numbers = {}
    for name in per_window(analysis):
        part = analysis[name]
        if few_numbers(part):
            fill = np.nan if part.dtype.kind == "f" else 0
            numbers[name] = np.full((len(batch), *part.shape[1:]), fill, part.dtype)
    numbers["status"][:] = status
    return Written(batch.begin, numbers, dict.fromkeys(range(batch.begin, batch.end), reason))
