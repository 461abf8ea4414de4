"""Refuse a record without any observation: of lazy data when all windows are computed, and of no part of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from dask.highlevelgraph import Layer, MaterializedLayer
from numpy.typing import NDArray

from xvar.errors import InputError

COUNTS = "number_of_observations"


def refuse_nothing(counts: list[NDArray[Any]]) -> None:
    """Raise InputError if no window of batches of counts (window,) has an observation."""
    if not any(np.any(part) for part in counts):
        raise InputError(
            code="no-values",
            found=f"no observed value in {sum(map(len, counts))} windows",
            expected="at least one observed value",
            fix='check the fill values of the files and the selection; errors="continue" keeps the background',
        )


class Counts(MaterializedLayer):
    """Layer of a graph with the numbers of observations, a task for each batch.

    If dask asks for all of them, they come by a check of all; if for some, their windows alone are computed.
    """

    def cull(self, keys: set[Any], all_hlg_keys: Collection[Any]) -> tuple[Layer, Mapping[Any, set[Any]]]:
        """Return the tasks for some keys, and the keys of other layers that these need."""
        if not self.mapping.keys() <= keys:
            result: tuple[Layer, Mapping[Any, set[Any]]] = super().cull(keys, all_hlg_keys)
            return result
        found = {("unchecked", *key): task for key, task in self.mapping.items()}
        check = f"refuse-nothing-{next(iter(self.mapping))[0]}"
        checked = {key: (_first, ("unchecked", *key), check) for key in self.mapping}
        needed = {key: {task[1]} for key, task in self.mapping.items()}
        return MaterializedLayer({**found, check: (refuse_nothing, list(found)), **checked}), needed


def _first(counts: NDArray[Any], _: None) -> NDArray[Any]:
    return counts
