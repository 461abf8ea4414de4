"""The one place where arrays with labels become tensors, and back.

The core sees (window, frame, y, x) with both coordinates ascending, in the machine's byte order; the caller sees the
order of the input. A batch of windows is solved from plain arrays alone, so that it may run anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.grid import HorizontalGrid

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.currents import Currents
    from xvar.core.experiment import Experiment
    from xvar.core.grid import Grid
    from xvar.core.motion import ImageMotion
    from xvar.core.nowcast import Nowcast
    from xvar.core.points import PointExperiment

Array = NDArray[Any]


def to_tensor(values: Array, *, dtype: str, device: str | None) -> Tensor:
    """A tensor of its own: torch takes no foreign byte order, no negative strides and nothing read-only."""
    import torch

    native = np.array(values, dtype=dtype, order="C", copy=True)
    return torch.from_numpy(native).to(device) if device else torch.from_numpy(native)


def to_array(tensor: Tensor) -> Array:
    """A numpy array of a tensor."""
    return np.asarray(tensor.detach().cpu().numpy())


def core_grid(grid: HorizontalGrid) -> Grid:
    """The grid as the core wants it."""
    import torch

    from xvar.core.grid import Grid

    metric = None if grid.metric is None else torch.from_numpy(np.array(grid.metric, dtype="float64"))
    return Grid(shape=grid.shape, spacing=grid.spacing, metric=metric)


def ascending(values: Array, grid: HorizontalGrid) -> Array:
    """Rows and columns in the order of ascending coordinates; applied twice it gives back the order of the input."""
    y, x = (slice(None) if up else slice(None, None, -1) for up in grid.ascending)
    return values[..., y, x]


def solve_motion(
    frames: Array,
    seconds: tuple[float, ...],
    *,
    name: str,
    grid: HorizontalGrid,
    land: Array | None,
    motion: ImageMotion | Currents,
    dtype: str,
    device: str | None,
) -> dict[str, Array]:
    """Analyse the motion in one batch of windows.

    Parameters
    ----------
    frames : array (window, frame, y, x)
        The frames of each window, in the order of the input, NaN where nothing was observed.
    seconds : tuple of float
        Time of each frame after the first.
    name : str
        The variable.
    grid : HorizontalGrid
        The grid of the input.
    land : array of bool (y, x) or None
        Where nothing is observed and nothing moves.
    motion : ImageMotion or Currents
        What is to be solved, and how.
    dtype, device : str
        Of the tensors.

    Returns
    -------
    dict of str to array (window, ...)
        What `ImageMotion.analyse` gives, in the order of the input.
    """
    images = to_tensor(ascending(_at_sea(frames, land), grid), dtype=dtype, device=device)
    own = {"analysis": name, "observed": f"{name}_observed"}
    return {
        own.get(key, key): _at_sea(_in_order(to_array(values), grid), land)
        for key, values in motion.analyse(images, seconds, core_grid(grid)).items()
    }


def solve_experiment(
    frames: Array,
    seconds: tuple[float, ...],
    *,
    name: str,
    grid: HorizontalGrid,
    land: Array | None,
    experiment: Experiment,
    components: Mapping[str, tuple[str, ...]],
    background: Mapping[str, Array],
    dtype: str,
    device: str | None,
) -> dict[str, Array]:
    """Analyse one batch of windows with a model and statistics of the user's own.

    Parameters
    ----------
    frames : array (window, frame, y, x) or (window, frame, 2, y, x)
        The frames, and behind them the standard deviation of their errors where it is stated.
    seconds : tuple of float
        Time of each frame after the first.
    name : str
        The observed variable.
    grid : HorizontalGrid
        The grid of the input.
    land : array of bool (y, x) or None
        Where nothing is observed and nothing is given.
    experiment : Experiment
        What is to be solved, and how.
    components : mapping of str to tuple of str
        The variables that each component of the state holds.
    background : mapping of str to array (y, x)
        Their background, but for the observed one where the first frame is its background.
    dtype, device : str
        Of the tensors.

    Returns
    -------
    dict of str to array (window, ...)
        Every variable of the state at every frame, ``<variable>_forcing`` of every variable that is forced, and what
        the analysis says of its windows.
    """

    def tensor(values: Array) -> Tensor:
        return to_tensor(ascending(values, grid), dtype=dtype, device=device)

    images, std = (frames, None) if frames.ndim == 4 else (frames[:, :, 0], frames[:, :, 1])
    images = _at_sea(images, land)
    known = {
        key: tensor(np.broadcast_to(np.stack([background[n] for n in names]), (len(frames), len(names), *grid.shape)))
        for key, names in components.items()
        if set(names) <= set(background)
    }
    states, forcing, numbers = experiment.analyse(
        tensor(images), None if std is None else tensor(std), known, seconds, core_grid(grid)
    )
    results = {key: to_array(values) for key, values in numbers.items()}
    results[f"{name}_observed"] = images[:, -1]
    for key, names in components.items():
        for index, part in enumerate(names):
            fields = [_in_order(to_array(state[key][:, index]), grid) for state in states]
            results[part] = _at_sea(np.stack(fields, axis=1), land)
            if forcing and key in forcing[0]:
                fields = [_in_order(to_array(error[key][:, index]), grid) for error in forcing]
                results[f"{part}_forcing"] = _at_sea(np.stack(fields, axis=1), land)
    return results


def _at_sea(values: Array, land: Array | None) -> Array:
    """Fields (..., y, x) with nothing on land; everything else as it is."""
    if land is None or values.shape[-2:] != land.shape or values.dtype.kind != "f":
        return values
    return np.where(land, np.asarray(np.nan, dtype=values.dtype), values)


def _in_order(values: Array, grid: HorizontalGrid) -> Array:
    """Fields in the order of the input; everything else as it is."""
    return np.ascontiguousarray(ascending(values, grid)) if values.shape[-2:] == grid.shape else values


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


def components_of(model: Any, variable: str) -> dict[str, tuple[str, ...]] | None:
    """The variables that each component of the state holds, where the model says so; None where it does not."""
    from xvar.core.advection import Advection

    if isinstance(model, Advection):
        return {"velocity": ("u", "v"), "tracer": (variable,)}
    stated = getattr(model, "components", None)
    return {str(key): tuple(names) for key, names in stated.items()} if isinstance(stated, Mapping) else None


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

    Returns
    -------
    fields : dict of str to array (1, ...)
        Every variable of the state at every time, ``<variable>_forcing`` of every variable that is forced, and what
        the analysis says of its window.
    equivalents : dict of str to array (point,)
        ``background`` and ``analysis``.
    """
    import torch

    from xvar.core.points import PointTable

    state = {
        key: to_tensor(
            np.stack([ascending(background[name], grid) for name in names])[None], dtype=dtype, device=device
        )
        for key, names in components.items()
    }
    table = PointTable(
        time=torch.from_numpy(np.array(points["time"], dtype="float64")),
        position=to_tensor(points["position"], dtype=dtype, device=device),
        source=torch.from_numpy(np.array(points["variable"], dtype="int64")),
        value=to_tensor(points["value"], dtype=dtype, device=device),
        std=to_tensor(points["std"], dtype=dtype, device=device),
        sources=tuple((key, index) for key, names in components.items() for index in range(len(names))),
    )
    states, forcing, found, numbers = experiment.analyse(state, table, seconds, core_grid(grid))
    results = {key: to_array(values) for key, values in numbers.items()}
    for key, names in components.items():
        for index, part in enumerate(names):
            fields = [_in_order(to_array(one[key][:, index]), grid) for one in states]
            results[part] = _at_sea(np.stack(fields, axis=1), land)
            if forcing and key in forcing[0]:
                fields = [_in_order(to_array(one[key][:, index]), grid) for one in forcing]
                results[f"{part}_forcing"] = _at_sea(np.stack(fields, axis=1), land)
    return results, {key: to_array(values) for key, values in found.items()}


def integrate_windows(
    *fields: Array,
    grid: HorizontalGrid,
    model: Any,
    components: Mapping[str, tuple[str, ...]],
    leads: tuple[float, ...],
    frame: float,
    dtype: str,
    device: str | None,
) -> tuple[Array, ...]:
    """Integrate a model on from the end of each window.

    Parameters
    ----------
    *fields : array (window, y, x)
        The variables of the state, in the order of `components`.
    grid, components, dtype, device
        As in `solve_experiment`.
    model : specification or callable
        The model.
    leads : tuple of float
        Seconds ahead, ascending.
    frame : float
        Longest step where the model states none.

    Returns
    -------
    tuple of array (window, lead, y, x)
        The variables at the leads.
    """
    import torch

    from xvar.core.cost import bind
    from xvar.core.dynamics import trajectory
    from xvar.core.problem import frame_steps

    tensors = [to_tensor(ascending(values, grid), dtype=dtype, device=device) for values in fields]
    names = [name for parts in components.values() for name in parts]
    by_name = dict(zip(names, tensors, strict=True))
    state = {key: torch.stack([by_name[name] for name in parts], dim=1) for key, parts in components.items()}
    steps = frame_steps([0.0, *leads], getattr(model, "step", None) or frame)
    states = trajectory(bind(model, core_grid(grid), tensors[0]), state, steps)
    times = np.cumsum([0.0, *steps])
    at_leads = [int(np.argmin(np.abs(times - lead))) for lead in leads]
    return tuple(
        _in_order(np.stack([to_array(states[step][key][:, index]) for step in at_leads], axis=1), grid)
        for key, parts in components.items()
        for index in range(len(parts))
    )
