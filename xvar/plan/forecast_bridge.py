"""The bridge of a forecast: windows of plain arrays to tensors of the core, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.grid import HorizontalGrid
from xvar.plan.bridge import ascending, core_grid, to_array, to_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.methods.nowcast import Nowcast

Array = NDArray[Any]


def extrapolate_windows(
    observed: Array,
    u: Array,
    v: Array,
    u_transient: Array,
    v_transient: Array,
    growth: Array,
    image_scale: Array,
    *,
    grid: HorizontalGrid,
    nowcast: Nowcast,
    leads: tuple[float, ...],
    frame: float,
    dtype: str,
    device: str | None,
) -> tuple[Array, Array]:
    """Extrapolate one batch of windows.

    Parameters
    ----------
    observed, u, v, u_transient, v_transient, growth : array (window, y, x)
        The last image, the motion at its time, the part of it that fades, and the growth.
    image_scale : array (window,)
        The deviation of the images.
    grid, nowcast, leads, frame
        See `Nowcast.extrapolate`.
    dtype, device : str
        Of the tensors.

    Returns
    -------
    forecast, origin : array (window, lead, y, x)
    """

    def tensor(values: Array) -> Tensor:
        return to_tensor(ascending(values, grid), dtype=dtype, device=device)

    def on_land_too(*fields: Array) -> Tensor:  # where nothing moves or grows
        return tensor(np.nan_to_num(np.stack(fields, axis=1)))

    images, outside = nowcast.extrapolate(
        tensor(observed)[:, None],
        on_land_too(u, v),
        on_land_too(u_transient, v_transient),
        on_land_too(growth),
        to_tensor(image_scale, dtype=dtype, device=device),
        leads,
        frame,
        core_grid(grid),
    )
    return ascending(to_array(images), grid), ascending(to_array(outside).astype("int8"), grid)


def integrate_windows(
    *fields: Array,
    grid: HorizontalGrid,
    model: Any,
    components: Mapping[str, tuple[str, ...]],
    leads: tuple[float, ...],
    frame: float,
    dtype: str,
    device: str | None,
    parameters: Mapping[str, bool] | None = None,
) -> tuple[Array, ...]:
    """Integrate a model on from the end of each window.

    Parameters
    ----------
    *fields : array (window, y, x)
        The variables of the state, in the order of `components`; then the `parameters`. Where all variables of all
        windows are NaN is land.
    grid, components, dtype, device
        As in `solve_experiment`.
    model : specification or callable
        The model.
    leads : tuple of float
        Seconds ahead, ascending.
    frame : float
        Longest step where the model states none.
    parameters : mapping of str to bool, optional
        Parameters of the model that are held, and whether each is a field; a number is (window,).

    Returns
    -------
    tuple of array (window, lead, y, x)
        The variables at the leads.
    """
    import torch

    from xvar.core.dynamics import trajectory
    from xvar.core.grid import bind
    from xvar.core.parameters import Holding, Parameter
    from xvar.core.problem import frame_steps

    names = [name for parts in components.values() for name in parts]
    land = np.logical_and.reduce(
        [np.isnan(values).reshape(-1, *grid.shape).all(axis=0) for values in fields[: len(names)]]
    )

    def tensor(values: Array) -> Tensor:
        if land.any():  # where a model may run, but no value counts
            values = np.where(land, np.nanmean(np.where(land, np.nan, values)), values)
        return to_tensor(ascending(values, grid), dtype=dtype, device=device)

    tensors = [tensor(values) for values in fields[: len(names)]]
    by_name = dict(zip(names, tensors, strict=True))
    state = {key: torch.stack([by_name[name] for name in parts], dim=1) for key, parts in components.items()}
    held = dict(zip(parameters or {}, fields[len(names) :], strict=True))
    for name, is_field in (parameters or {}).items():
        values = held[name] if is_field else np.asarray(held[name])[:, None, None]
        state[name] = (tensor(values) if is_field else to_tensor(values, dtype=dtype, device=device))[:, None]
    if held:
        model_with = Holding(model, {name: Parameter(0.0, 1.0) for name in held})
    steps = frame_steps([0.0, *leads], getattr(model, "step", None) or frame)
    states = trajectory(
        bind(model_with if held else model, core_grid(grid, land if land.any() else None), tensors[0]), state, steps
    )
    times = np.cumsum([0.0, *steps])
    at_leads = [int(np.argmin(np.abs(times - lead))) for lead in leads]
    results = (
        ascending(np.stack([to_array(states[step][key][:, index]) for step in at_leads], axis=1), grid)
        for key, parts in components.items()
        for index in range(len(parts))
    )
    return tuple(np.where(land, np.asarray(np.nan, dtype=dtype), values) for values in results)
