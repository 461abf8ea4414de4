"""The bridge of a forecast: windows of plain arrays to tensors of the core, and back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.grid import HorizontalGrid
from xvar.errors import Faults, Status
from xvar.execution.workers import one_torch_thread
from xvar.plan.bridge import ascending, core_grid, to_array, to_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.methods.ensemble import Ensemble
    from xvar.core.methods.nowcast import Nowcast

Array = NDArray[Any]

WITH_MOTION = (Status.CONVERGED, Status.NOT_CONVERGED, Status.AMBIGUOUS)


def extrapolate_windows(
    observed: Array,
    u: Array,
    v: Array,
    u_transient: Array,
    v_transient: Array,
    growth: Array,
    image_scale: Array,
    status: Array,
    number: Array,
    *errors: Array,
    grid: HorizontalGrid,
    nowcast: Nowcast,
    leads: tuple[float, ...],
    frame: float,
    dtype: str,
    device: str | None,
    ensemble: Ensemble | None = None,
) -> tuple[Array, Array]:
    """Extrapolate one batch of windows.

    Parameters
    ----------
    observed, u, v, u_transient, v_transient, growth : array (window, y, x)
        The last image, the motion at its time, the part of it that decays, and the growth.
    image_scale : array (window,)
        Standard deviation of the images.
    status, number : array (window,)
        Status and index of each window, for messages.
    *errors : array
        Of an ensemble: ``octave_correlation`` (window, age, octave), ``growth_error`` (window, age), seed (window,).
    grid, nowcast, leads, frame
        See `Nowcast.extrapolate`.
    dtype, device : str
        Of the tensors.
    ensemble : Ensemble, optional
        Its members are drawn, in one thread: reductions of several threads have other bits.

    Returns
    -------
    forecast : array (window, lead, y, x) or (window, member, lead, y, x)
    origin : array (window, lead, y, x)

    Raises
    ------
    InputError
        If a window is converged, or nearly so, and has no motion.
    """
    _refuse_lost_motion(np.isfinite(u) & np.isfinite(v), status, number)

    def tensor(values: Array) -> Tensor:
        return to_tensor(ascending(values, grid), dtype=dtype, device=device)

    def with_land(*fields: Array) -> Tensor:  # no motion and no growth on land
        return tensor(np.nan_to_num(np.stack(fields, axis=1)))

    with one_torch_thread() if ensemble is not None else nullcontext():
        result = nowcast.extrapolate(
            tensor(observed)[:, None],
            with_land(u, v),
            with_land(u_transient, v_transient),
            with_land(growth),
            to_tensor(image_scale, dtype=dtype, device=device),
            leads,
            frame,
            core_grid(grid),
        )
        images = result.forecast
        if ensemble is not None:
            correlation, growth_error = (to_tensor(part, dtype=dtype, device=device) for part in errors[:-1])
            seeds = [int(seed) for seed in errors[-1]]
            images = ensemble.draw(result, correlation, growth_error, leads, frame, nowcast, seeds)
    return ascending(to_array(images), grid), ascending(to_array(result.outside).astype("int8"), grid)


def _refuse_lost_motion(known: Array, status: Array, number: Array) -> None:
    """Refuse windows whose status promises a motion, and in which none is known (window, y, x)."""
    faults = Faults()
    for row in np.flatnonzero(~known.any(axis=(1, 2)) & np.isin(status, WITH_MOTION)):
        faults.add(
            code="no-velocity",
            variable="u",
            index=f"window {int(number[row])}",
            found=f"no finite motion in a window of status {Status(status[row]).name.lower()}",
            expected="a motion in every window that is converged, not_converged or ambiguous",
            fix="analysis = ds.var4d.assimilate(), or analysis.isel(window=...) without it",
        )
    faults.raise_if_any()


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
