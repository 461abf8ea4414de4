"""Forecasts of batches of windows, from plain arrays and back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from xvar.cf.grid import HorizontalGrid
from xvar.errors import Faults, Status
from xvar.execution.workers import one_torch_thread
from xvar.plan.bridge import Array, Bridge

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.methods.nowcast import Nowcast
    from xvar.core.methods.nowcast_ensemble import NowcastEnsemble

WITH_MOTION = (Status.CONVERGED, Status.NOT_CONVERGED, Status.AMBIGUOUS)


def extrapolate_windows(
    *fields: Array,
    grid: HorizontalGrid,
    nowcast: Nowcast,
    leads: tuple[float, ...],
    frame: float,
    dtype: str,
    device: str | None,
    ensemble: NowcastEnsemble | None = None,
) -> tuple[Array, Array]:
    """Return forecasts (window, lead, y, x), or (window, member, lead, y, x), and `origin` (window, lead, y, x).

    `fields` are the last image, the motion at its time (along x and y), the part of it that decays, and the growth, all
    (window, y, x); standard deviation of the images and status of each window (window,), ``motion_skill`` (window, age)
    and the index of each window (window,). Of an ensemble, whose members are drawn in one thread (reductions of several
    have other bits), also ``octave_correlation`` (window, age, octave), ``growth_error`` (window, age) and the seeds
    (window,). For the rest see `Nowcast.extrapolate`.
    """
    observed, u, v, u_transient, v_transient, growth, image_scale, status, skill, number, *errors = fields
    _refuse_lost_motion(np.isfinite(u) & np.isfinite(v), status, number)

    bridge = Bridge(grid, None, dtype, device)

    def with_land(*fields: Array) -> Tensor:  # no motion and no growth on land
        return bridge.tensor(np.nan_to_num(np.stack(fields, axis=1)))

    with one_torch_thread() if ensemble is not None else nullcontext():
        result = nowcast.extrapolate(
            bridge.tensor(observed)[:, None],
            with_land(u, v),
            with_land(u_transient, v_transient),
            with_land(growth),
            bridge.numbers(image_scale),
            leads,
            frame,
            bridge.core_grid(),
            bridge.numbers(skill),
            with_paths=ensemble is not None,
        )
        images = result.forecast
        if ensemble is not None:
            correlation, growth_error = (bridge.numbers(part) for part in errors[:-1])
            seeds = [int(seed) for seed in errors[-1]]
            images = ensemble.draw(result, correlation, growth_error, leads, frame, nowcast, seeds)
    return bridge.array(images), bridge.array(result.outside).astype("int8")


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
    """Integrate a model from the end of each window, to variables (window, lead, y, x).

    `fields` (window, y, x) are the variables of the state, in the order of `components`, then the `parameters`: each is
    a field if its value there is true, else a number (window,). Points at which all variables of all windows are NaN
    are land. `leads` are seconds ahead, ascending, `frame` is the longest step of a model that states none.
    """
    import torch

    from xvar.core.dynamics import trajectory
    from xvar.core.grid import bind
    from xvar.core.parameters import Holding, Parameter
    from xvar.core.problem import frame_steps

    names = [name for parts in components.values() for name in parts]
    unknown = [np.isnan(values).reshape(-1, *grid.shape).all(axis=0) for values in fields[: len(names)]]
    land = np.logical_and.reduce(unknown)
    bridge = Bridge(grid, land if land.any() else None, dtype, device)

    def tensor(values: Array) -> Tensor:
        if bridge.land is not None:  # where a model may run, but no value counts
            values = np.where(land, np.nanmean(np.where(land, np.nan, values)), values)
        return bridge.tensor(values)

    by_name = {name: tensor(values) for name, values in zip(names, fields[: len(names)], strict=True)}
    state = {key: torch.stack([by_name[name] for name in parts], dim=1) for key, parts in components.items()}
    for (name, is_field), values in zip((parameters or {}).items(), fields[len(names) :], strict=True):
        held = tensor(values) if is_field else bridge.numbers(np.asarray(values).reshape(-1, *(1,) * len(grid.shape)))
        state[name] = held[:, None]
    held_by = Holding(model, {name: Parameter(0.0, 1.0) for name in parameters}) if parameters else model
    steps = frame_steps([0.0, *leads], getattr(model, "step", None) or frame)
    states = trajectory(bind(held_by, bridge.core_grid(), next(iter(by_name.values()))), state, steps)
    times = np.cumsum([0.0, *steps])
    at_leads = [int(np.argmin(np.abs(times - lead))) for lead in leads]
    return tuple(
        np.stack([bridge.array(states[step][key][:, index]) for step in at_leads], axis=1)
        for key, parts in components.items()
        for index in range(len(parts))
    )
