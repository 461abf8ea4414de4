"""The one place where arrays with labels become tensors, and back.

The core sees (window, frame, y, x) with both coordinates ascending, in the machine's byte order; the caller sees the
order of the input. A batch of windows is solved from plain arrays alone, so that it may run anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.grid import HorizontalGrid

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.grid import Grid
    from xvar.core.methods.currents import Currents
    from xvar.core.methods.experiment import Experiment
    from xvar.core.methods.image_motion import ImageMotion
    from xvar.core.methods.points import PointExperiment
    from xvar.core.parameters import Parameter

Array = NDArray[Any]


@dataclass(frozen=True)
class CycleState:
    """What a window takes over from the one before it in a chain.

    Attributes
    ----------
    fields : mapping of str to array (y, x)
        Variables of that analysis at its last frame, in the order of the input.
    lead : float
        Seconds from that frame to the first of this window.
    elapsed : float
        Seconds from the first frame of that window to the first of this one.
    """

    fields: Mapping[str, Array]
    lead: float
    elapsed: float


def to_tensor(values: Array, *, dtype: str, device: str | None) -> Tensor:
    """A tensor in storage of torch's own.

    Torch takes no foreign byte order, no negative strides and nothing read-only, and its products have other bits where
    numbers do not begin at a cache line, as they may in an array that came from another process.
    """
    import torch

    values = np.asarray(values)
    tensor = torch.empty(values.shape, dtype=getattr(torch, dtype))
    tensor.numpy()[...] = values
    return tensor.to(device) if device else tensor


def to_array(tensor: Tensor) -> Array:
    """A numpy array of a tensor."""
    return np.asarray(tensor.detach().cpu().numpy())


def core_grid(grid: HorizontalGrid, land: Array | None = None) -> Grid:
    """The grid as the core wants it, with land (y, x) in the order of the input."""
    import torch

    from xvar.core.grid import Grid

    metric = None if grid.metric is None else to_tensor(grid.metric, dtype="float64", device=None)
    water = None if land is None else torch.from_numpy(np.array(~ascending(land, grid)))
    return Grid(shape=grid.shape, spacing=grid.spacing, metric=metric, water=water)


def ascending(values: Array, grid: HorizontalGrid) -> Array:
    """Rows and columns in the order of ascending coordinates; applied twice it gives back the order of the input."""
    y, x = (slice(None) if up else slice(None, None, -1) for up in grid.ascending)
    return values[..., y, x]


def solve_motion(
    frames: Array,
    seconds: tuple[float, ...],
    cycle_state: CycleState | None = None,
    *,
    name: str,
    grid: HorizontalGrid,
    land: Array | None,
    motion: ImageMotion | Currents,
    dtype: str,
    device: str | None,
    cycled: bool = False,
    zero: float = 0.0,
) -> dict[str, Array]:
    """Analyse the motion in one batch of windows.

    Parameters
    ----------
    frames : array (window, frame, y, x)
        The frames of each window, in the order of the input, NaN where nothing was observed.
    seconds : tuple of float
        Time of each frame after the first.
    cycle_state : CycleState, optional
        The motion that the one window of a chain takes over.
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
    cycled : bool
        Whether windows form chains: the result has their backgrounds too.
    zero : float
        What is taken off the frames in double precision, and given back to the analysis: kelvin and degrees Celsius of
        the same sea then give the same bits of motion.

    Returns
    -------
    dict of str to array (window, ...)
        What `ImageMotion.analyse` gives, in the order of the input.
    """
    shifted = np.subtract(frames, zero, dtype="float64") if zero else frames
    images = to_tensor(ascending(_at_sea(shifted, land), grid), dtype=dtype, device=device)
    guess, options = (None, {}) if cycle_state is None else _guess(cycle_state, seconds, grid, motion, dtype, device)
    results = motion.analyse(images, seconds, core_grid(grid, land), guess, **options)
    own = {"analysis": name, "observed": f"{name}_observed"}
    arrays = {own.get(key, key): _at_sea(_in_order(to_array(values), grid), land) for key, values in results.items()}
    if zero:
        arrays[name] = np.add(arrays[name], zero, dtype="float64").astype(dtype)
        arrays[own["observed"]] = _at_sea(frames[:, -1], land)
    if cycled:
        background = np.zeros((len(frames), 2, *grid.shape), dtype) if guess is None else to_array(guess)
        for index, part in enumerate("uv"):
            arrays[f"{part}_background"] = _at_sea(_in_order(background[:, index], grid), land)
        arrays["background_source"] = np.full(len(frames), cycle_state is not None, dtype="int8")
    return arrays


def _guess(
    cycle_state: CycleState,
    seconds: tuple[float, ...],
    grid: HorizontalGrid,
    motion: ImageMotion | Currents,
    dtype: str,
    device: str | None,
) -> tuple[Tensor, dict[str, float]]:
    """The motion that is expected at the end of a window of a chain, and what else the solver wants to know of it."""
    from xvar.core.methods.currents import Currents

    def tensor(*names: str) -> Tensor:  # nothing moves on land
        fields = np.stack([np.nan_to_num(cycle_state.fields[name]) for name in names])
        return to_tensor(ascending(fields[None], grid), dtype=dtype, device=device)

    # The control is the motion at the last frame.
    elapsed = cycle_state.lead + seconds[-1]
    if isinstance(motion, Currents):
        return tensor("u", "v"), {"elapsed": elapsed}
    frame = seconds[-1] / (len(seconds) - 1)
    if motion.transient is None:
        return tensor("u", "v"), {}
    fading = tensor("u_transient", "v_transient")
    return motion.forecast(tensor("u", "v") - fading, fading, elapsed, frame), {}


def solve_experiment(
    frames: Array,
    seconds: tuple[float, ...],
    cycle_state: CycleState | None = None,
    *,
    name: str,
    grid: HorizontalGrid,
    land: Array | None,
    experiment: Experiment,
    components: Mapping[str, tuple[str, ...]],
    background: Mapping[str, Array],
    dtype: str,
    device: str | None,
    cycled: float | None = None,
    save: tuple[str, ...] = (),
) -> dict[str, Array]:
    """Analyse one batch of windows with a model and statistics of the user's own.

    Parameters
    ----------
    frames : array (window, frame, y, x) or (window, frame, 2, y, x)
        The frames, and behind them the standard deviation of their errors where it is stated.
    seconds : tuple of float
        Time of each frame after the first.
    cycle_state : CycleState, optional
        The state that the one window of a chain takes over; without it the background is as stated.
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
    cycled : float, optional
        Where windows form chains: the longest step of a forecast whose model states none. The result has the
        backgrounds too.
    save : tuple of str
        See `Experiment.analyse`.

    Returns
    -------
    dict of str to array (window, ...)
        Every variable of the state at every frame, ``<variable>_forcing`` of every variable that is forced, and what
        the analysis says of its windows.
    """

    def tensor(values: Array) -> Tensor:
        return to_tensor(ascending(values, grid), dtype=dtype, device=device)

    images, std = (frames, None) if frames.ndim == 4 else (frames[:, :, 0], frames[:, :, 1])
    images, sea = _at_sea(images, land), core_grid(grid, land)
    begin = background if cycle_state is None else {n: _filled(part, land) for n, part in cycle_state.fields.items()}
    known = {
        key: tensor(np.broadcast_to(np.stack([begin[n] for n in names]), (len(frames), len(names), *grid.shape)))
        for key, names in components.items()
        if set(names) <= set(begin)
    }
    if cycle_state is not None:
        assert cycled is not None
        experiment, known = experiment.following(known, cycle_state.lead, cycle_state.elapsed, cycled, sea)
    states, forcing, numbers, saved = experiment.analyse(
        tensor(images), None if std is None else tensor(std), known, seconds, sea, save
    )
    results = _numbers(numbers, experiment.parameters, grid, land)
    if cycled is not None:
        first = experiment.completed(known, tensor(images))
        for key, names in components.items():
            for index, part in enumerate(names):
                results[f"{part}_background"] = _at_sea(_in_order(to_array(first[key][:, index]), grid), land)
        results["background_source"] = np.full(len(frames), cycle_state is not None, dtype="int8")
    results[f"{name}_observed"] = images[:, -1]
    for key, names in components.items():
        for index, part in enumerate(names):
            fields = [_in_order(to_array(state[key][:, index]), grid) for state in states]
            results[part] = _at_sea(np.stack(fields, axis=1), land)
            if forcing and key in forcing[0]:
                fields = [_in_order(to_array(error[key][:, index]), grid) for error in forcing]
                results[f"{part}_forcing"] = _at_sea(np.stack(fields, axis=1), land)
            if "increment" in saved:
                increment = saved["increment"][key][:, index]
                results[f"{part}_increment"] = _at_sea(_in_order(to_array(increment), grid), land)
    for word in {"innovation", "residual"} & set(saved):
        results[f"{name}_{word}"] = _at_sea(_in_order(to_array(saved[word][experiment.observed]), grid), land)
    return results


def _filled(values: Array, land: Array | None) -> Array:
    """A field (y, x) that has a number on land too, which a sampler at the coast needs: the mean of the sea."""
    return values if land is None else np.where(land, values[~land].mean(dtype="float64"), values).astype(values.dtype)


def _numbers(
    numbers: Mapping[str, Tensor], parameters: Mapping[str, Parameter], grid: HorizontalGrid, land: Array | None
) -> dict[str, Array]:
    """What an analysis says of its windows, and its parameters, of which some are fields."""
    results = {key: to_array(values) for key, values in numbers.items()}
    for key, parameter in parameters.items():
        if parameter.is_field:
            results[key] = _at_sea(_in_order(results[key], grid), land)
    return results


def _at_sea(values: Array, land: Array | None) -> Array:
    """Fields (..., y, x) with nothing on land; everything else as it is."""
    if land is None or not _is_field(values, land.shape) or values.dtype.kind != "f":
        return values
    return np.where(land, np.asarray(np.nan, dtype=values.dtype), values)


def _in_order(values: Array, grid: HorizontalGrid) -> Array:
    """Fields in the order of the input; everything else as it is."""
    return np.ascontiguousarray(ascending(values, grid)) if _is_field(values, grid.shape) else values


def _is_field(values: Array, shape: tuple[int, ...]) -> bool:
    """Whether an array is (window, ..., y, x): a table (window, n) may have as many rows and columns as the grid."""
    return values.ndim > 2 and values.shape[-2:] == shape


def components_of(model: Any, variable: str) -> dict[str, tuple[str, ...]] | None:
    """The variables that each component of the state holds, where the model says so; None where it does not."""
    from xvar.core.models.advection import Advection

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
    results = _numbers(numbers, experiment.parameters, grid, land)
    for key, names in components.items():
        for index, part in enumerate(names):
            fields = [_in_order(to_array(one[key][:, index]), grid) for one in states]
            results[part] = _at_sea(np.stack(fields, axis=1), land)
            if forcing and key in forcing[0]:
                fields = [_in_order(to_array(one[key][:, index]), grid) for one in forcing]
                results[f"{part}_forcing"] = _at_sea(np.stack(fields, axis=1), land)
    return results, {key: to_array(values) for key, values in found.items()}
