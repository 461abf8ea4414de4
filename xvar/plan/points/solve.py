"""Solve one window from observations at points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from xvar.cf.grid import HorizontalGrid
from xvar.plan.bridge import Array, ascending, core_grid, in_order, to_array, to_tensor, without_land
from xvar.plan.state_solver import numbers_of

if TYPE_CHECKING:
    from xvar.core.methods.points import PointExperiment


def solve_points(
    background: Mapping[str, Array],
    points: Mapping[str, Array],
    seconds: tuple[float, ...],
    *,
    grid: HorizontalGrid,
    land: Array | None,
    experiment: PointExperiment,
    components: Mapping[str, tuple[str, ...]],
    dtype: str,
    device: str | None,
    staggered: tuple[str, ...] = (),
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Analyse one window from observations at points.

    Parameters
    ----------
    background : mapping of str to array (y, x)
        Every variable of the state, in the order of the input.
    points : mapping of str to array
        ``time`` in seconds from the beginning, ``position`` (2, point) along ascending x and y in grid units,
        ``value``, ``std`` (point,), and ``variable`` (point,), the index of the variable in order of `components`.
    seconds : tuple of float
        Times of the states of the result.
    grid, land, experiment, components, dtype, device
        As in `solve_experiment`.
    staggered : tuple of str
        Variables that lie between the grid points.

    Returns
    -------
    fields : dict of str to array (1, ...)
        Every variable of the state at every time, ``<variable>_forcing`` of every variable that is forced, and what
        the analysis says of its window.
    equivalents : dict of str to array (point,)
        ``background`` and ``analysis``.
    """
    from xvar.core.methods.points import PointTable

    state = {
        key: to_tensor(
            np.stack([ascending(background[name], grid) for name in names])[None], dtype=dtype, device=device
        )
        for key, names in components.items()
    }
    table = PointTable(
        time=to_tensor(points["time"], dtype="float64", device=None),
        position=to_tensor(points["position"], dtype=dtype, device=device),
        source=to_tensor(points["variable"], dtype="int64", device=None),
        value=to_tensor(points["value"], dtype=dtype, device=device),
        std=to_tensor(points["std"], dtype=dtype, device=device),
        sources=tuple((key, index) for key, names in components.items() for index in range(len(names))),
        staggered=tuple(
            (key, index) for key, names in components.items() for index, name in enumerate(names) if name in staggered
        ),
    )
    states, forcing, found, numbers = experiment.analyse(state, table, seconds, core_grid(grid, land))
    results = numbers_of(numbers, experiment.parameters, grid, land)
    for key, names in components.items():
        for index, part in enumerate(names):
            fields = [in_order(to_array(one[key][:, index]), grid) for one in states]
            results[part] = without_land(np.stack(fields, axis=1), land)
            if forcing and key in forcing[0]:
                fields = [in_order(to_array(one[key][:, index]), grid) for one in forcing]
                results[f"{part}_forcing"] = without_land(np.stack(fields, axis=1), land)
    return results, {key: to_array(values) for key, values in found.items()}
