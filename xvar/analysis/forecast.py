"""Forecasts from an analysis."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial as bound
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import configuration_of
from xvar.cf.axes import Axes, is_lazy, plane_of
from xvar.cf.conventions import to_cf
from xvar.cf.grid import HorizontalGrid, horizontal_grid
from xvar.cf.lattice import lattice_grid
from xvar.cf.metadata import attributes
from xvar.cf.times import parse_duration
from xvar.errors import Faults
from xvar.plan.configuration import Configuration
from xvar.plan.forecast_bridge import extrapolate_windows, integrate_windows
from xvar.plan.method import components_of, named_models
from xvar.plan.uncertainty import window_seeds

Kind = Literal["sharp", "mean"]

#: Parts of a forecast from images, beside the last image and the steady motion -> their fields of a `Nowcast`.
PARTS = {
    "transient": "transient",
    "growth": "source",
    "power_limit": "sharpness",
    "motion_fading": "skills",
}
KINDS: tuple[Kind, ...] = ("sharp", "mean")
#: Longest forecast of xvar's own methods and models, in frames: 12 hours of 5-minute radar images.
HORIZON = 144
#: Code of a fault -> what is expected, and the fix.
_FAULTS = {
    "variable-missing": (
        "every variable that assimilate() wrote",
        "analysis = ds.var4d.assimilate(); analysis.var4d.forecast(...)",
    ),
    "no-values": (
        "a window with observations",
        "check the fill values of the file and the selection that were assimilated",
    ),
    "of-rain-alone": ("rain, the only variable for which it is measured", "leave out {option}="),
    "option-of-images": ("the extrapolation of images, which alone has it", "leave out {option}="),
    "model-not-stated": ("the model of the forecast: one of your own is in no file", "forecast(lead, dynamics=model)"),
    "lead-too-short": (
        "a lead of at least one step",
        'a longer lead, or a shorter one of every=, such as every="5min"',
    ),
    "lead-too-long": (
        f"a lead of at most {HORIZON} frames, {{longest:g}} s",
        'forecast("{longest:g}s"), or a model of your own, forecast(lead, dynamics=model)',
    ),
    "part-unknown": (
        f"parts of the forecast: {', '.join(PARTS)}",
        'such as without="growth", or without=("transient", "growth")',
    ),
    "members-invalid": ("a number of members, at least 2", "members=20"),
    "seed-invalid": ("a whole number from 0", "seed=0"),
    "seed-without-members": ("a seed of an ensemble", "members=20, seed={seed!r}"),
    "members-of-mean": ("members of the sharp forecast", 'forecast(lead, members=20).mean("member", keep_attrs=True)'),
}


@dataclass(frozen=True)
class Analysed:
    """An analysis as a forecast reads it: its configuration, its grid and the dimensions of that."""

    configuration: Configuration
    grid: HorizontalGrid
    plane: tuple[Hashable, ...]


@dataclass(frozen=True)
class _Options:
    """Options of the extrapolation of images, which a model has no use for."""

    kind: Kind
    without: tuple[str, ...]
    members: int | None
    seed: int

    @property
    def words(self) -> str:
        """Return the options that differ from the defaults, for the history."""
        kind = "" if self.kind == "sharp" else f", kind {self.kind}"
        members = "" if self.members is None else f", {self.members} members from seed {self.seed}"
        return kind + members + "".join(f", without {part}" for part in self.without)


def forecast(
    data: xr.Dataset,
    lead: Any,
    every: Any = None,
    *,
    kind: Kind = "sharp",
    members: int | None = None,
    seed: int | None = None,
    dynamics: Any = None,
    without: str | Sequence[str] = (),
) -> xr.Dataset:
    r"""Forecast from the end of each window of an analysis.

    From images, the last one is extrapolated along the analysed motion. Every point takes the value of the parcel that
    reaches it, interpolated bilinearly once from the last image as it was observed; the analysis fills its holes. A
    forecast of rain has four parts beside that:

    .. math::

        \dot X = a(t) \, w(X) + q(X) \, \frac{d}{dt} t \, e^{-t / 2.5 \tau_q}, \qquad
        \dot I = s \, e^{-t / \tau_s}

    - ``transient``: the displacement by the motion of the newest pair of images, q, about the steady motion of the
      window, w, returns to zero;
    - ``motion_fading``: the steady motion fades, :math:`a < 1`, if the share of the misfit of earlier images that it
      explains, ``motion_skill``, is low or falls with their age: such rain stays in its place;
    - ``growth``: the rain of a parcel, as its root, grows or decays by the source s, which moves with it and decays;
    - ``power_limit``: growth adds power at short wavelengths that later images do not have; in each octave of
      wavelength it is limited to about that of the image carried without growth.

    If a path begins outside the grid, the last image stays, and ``origin`` is 1. `xvar.core.methods.nowcast.Nowcast`
    has the equations. From a model, the forecast continues from the analysed state at the end of the window.

    Parameters
    ----------
    data : Dataset
        An analysis, or one window of it, from memory or from a file: a forecast has the same bits from either.
    lead : duration
        Lead time of the last forecast: "30min", datetime.timedelta, numpy.timedelta64. At most 144 times that between
        frames, but for a model of the user's own.
    every : duration, optional
        Time between forecasts. Default: that between frames.
    kind : {"sharp", "mean"}
        ``"sharp"`` has the power of an observed image at every wavelength. ``"mean"`` has the least squared error and
        is smoother the longer the lead: without the power limit, and with the cosine coefficients of rain times
        :math:`e^{-(t / \tau) \lambda_0 k}`, :math:`\lambda_0` = 24 km, :math:`\tau` = 30 min, k in cycles per km. Of
        rain alone.
    members : int, optional
        Draw an ensemble of so many members about the sharp forecast, see
        `xvar.core.methods.nowcast_ensemble.NowcastEnsemble`. Of rain
        alone.
    seed : int, optional
        Seed of the ensemble, 0 by default. The members of a window depend on the seed, on its
        ``forecast_reference_time`` and on the lead times, not on other windows.
    dynamics : xvar.dynamics.Advection or callable, optional
        The model of the forecast. Default: that of the analysis. A model of the user's own is in no file: state it
        again.
    without : str or sequence of str
        Parts to leave out, of "transient", "growth", "power_limit" and "motion_fading". The power limit has an effect
        on growth alone.
        Leaving out a part that the analysis does not have, as those of the sea, has no effect.

    Returns
    -------
    Dataset
        The variable in its own units and ``origin``, dimensions (window, lead_time, y, x), of an ensemble
        (window, member, lead_time, y, x), with ``forecast_reference_time(window)`` and valid
        ``time(window, lead_time)``. The attribute ``forecast_kind`` is the kind, ``forecast_seed`` the seed. Lazy if
        the analysis is.

    Raises
    ------
    InputError
        If `data` is no analysis or lacks a variable of its method, if a converged window has no motion (at compute if
        it is lazy), if `lead` is not positive, shorter than `every` or too long, if `kind`, `members`, `seed` or
        `without` are not among the values above, or if they are given for a model or another variable than rain.

    Examples
    --------
    >>> import xvar
    >>> analysis = xvar.datasets.sample().var4d.assimilate()
    >>> analysis.var4d.forecast("15min").sizes["lead_time"]
    3
    >>> analysis.var4d.forecast("15min", members=4, seed=1).sizes["member"]
    4
    """
    faults = Faults()
    data = _with_windows(data)
    analysed = read_analysis(data, faults)
    if analysed is not None and not analysed.configuration.has_state:
        _refuse_unobserved(data, faults)
    horizon = parse_duration(lead, "lead", faults)
    step = None if every is None else parse_duration(every, "every", faults)
    options = _read_options(kind, members, seed, without, faults)
    analysed, horizon = faults.require(analysed), faults.require(horizon)
    configuration = analysed.configuration
    by_model = dynamics is not None or configuration.has_state
    model = _model(configuration, dynamics, faults) if by_model else None
    leads = _leads(horizon, step, configuration.frame, faults, limited=model is None or _is_of_xvar(model))
    _refuse_options(options, configuration, faults, by_model=by_model)
    components = _components(data, analysed, model) if by_model else {}
    state = [name for parts in components.values() for name in parts]
    names = [*state, *configuration.parameters] if by_model else _read_from_images(configuration, options)
    for name in names:
        if name not in data:
            _refuse(faults, "variable-missing", "an analysis without it", variable=name)
    faults.raise_if_any()
    if by_model:
        fields = _integrate(data, analysed, leads, state, bound(integrate_windows, model=model, components=components))
    else:
        fields = _extrapolate(data, analysed, leads, options)
    result = _labelled(data, analysed, leads, fields)
    if not by_model:
        result.attrs |= {"forecast_kind": options.kind} | ({} if members is None else {"forecast_seed": options.seed})
    return to_cf(result, data, action=f'forecast("{configuration.variable}", {horizon:g} s{options.words})')


def _refuse_unobserved(data: xr.Dataset, faults: Faults) -> None:
    """Refuse an analysis without any observation, unless its numbers are lazy: no image can be extrapolated."""
    counts = data.get("number_of_observations")
    if counts is not None and not is_lazy(counts) and not counts.any():
        _refuse(faults, "no-values", f"an analysis of {counts.size} windows without any observation", counts.name)


def _with_windows(data: xr.Dataset) -> xr.Dataset:
    """Return an analysis with its dimension of windows, also if one window was selected."""
    if "window" in data.dims or "forecast_reference_time" not in data.coords:
        return data
    moments = {name: data[name].expand_dims("window") for name in ("time", "forecast_reference_time")}
    return data.drop_vars("window", errors="ignore").expand_dims("window").assign_coords(moments)


def read_analysis(data: xr.Dataset, faults: Faults) -> Analysed | None:
    """Read the configuration and the grid of an analysis."""
    configuration = configuration_of(data)
    # An analysis by a model from points has no last image.
    name = configuration.variable if configuration.has_state else f"{configuration.variable}_observed"
    configuration_of(data, name)
    observed = data[name].isel(step=-1, missing_dims="ignore")
    space = [dim for dim in observed.dims if dim != "window"]
    axes = Axes(time="window", y=space[-2] if len(space) > 1 else None, x=space[-1], others=tuple(space[:-2]))
    if configuration.method == "model" and (len(space) != 2 or plane_of(observed) is None):
        grid = lattice_grid(observed.isel(window=0, drop=True), axes, faults, data)
    else:
        grid = horizontal_grid(observed, axes, faults, configuration.dx, configuration.dy, mapping=data)
    return None if grid is None else Analysed(configuration, grid, axes.space)


def _read_options(kind: Any, members: Any, seed: Any, without: str | Sequence[str], faults: Faults) -> _Options:
    """Check the options of the extrapolation."""
    faults.check_choice("kind", kind, KINDS, "sharp")
    drawn, seeded = members is not None, seed is not None
    found = {
        "members-invalid": drawn and not _is_whole(members, 2) and f"members={members!r}",
        "seed-invalid": seeded and not _is_whole(seed, 0) and f"seed={seed!r}",
        "seed-without-members": seeded and not drawn and f"seed={seed!r} without members=",
        "members-of-mean": kind == "mean" and drawn and f'members={members!r} with kind="mean"',
    }
    for code, text in found.items():
        if text:
            _refuse(faults, code, text, seed=seed)
    names = (without,) if isinstance(without, str) or not isinstance(without, Iterable) else tuple(without)
    for name in names:
        if name not in list(PARTS):  # anything, also what has no hash
            _refuse(faults, "part-unknown", f"without={name!r}")
    return _Options(kind, tuple(part for part in PARTS if part in names), members, seed or 0)


def _refuse(faults: Faults, code: str, found: str, variable: Hashable | None = None, **values: Any) -> None:
    """Add a fault of the table."""
    expected, fix = (text.format(**values) for text in _FAULTS[code])
    faults.add(code=code, variable=variable, found=found, expected=expected, fix=fix)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= least)


def _leads(horizon: float, step: float | None, frame: float, faults: Faults, *, limited: bool) -> tuple[float, ...]:
    """Return the lead times in seconds."""
    step = frame if step is None else step
    count = math.floor(horizon / step + 1e-6)
    if count < 1:
        _refuse(faults, "lead-too-short", f"lead of {horizon:g} s, less than the {step:g} s between forecasts")
    if limited and horizon > HORIZON * frame * (1 + 1e-6):
        found = f"lead of {horizon:g} s, {horizon / frame:.0f} times the {frame:g} s between frames"
        _refuse(faults, "lead-too-long", found, longest=HORIZON * frame)
        return ()
    return tuple(step * (index + 1) for index in range(count))


def _model(configuration: Configuration, dynamics: Any, faults: Faults) -> Any:
    """Return the model of the forecast."""
    model = configuration.model() if dynamics is None else dynamics
    if isinstance(model, str):
        model = named_models().get(model, model)
    if model is None or isinstance(model, str):
        _refuse(faults, "model-not-stated", f"dynamics={dynamics!r} for an analysis by {configuration.dynamics}")
    return model


def _is_of_xvar(model: Any) -> bool:
    from xvar.core.models.advection import Advection

    return isinstance(model, Advection)


def _refuse_options(options: _Options, configuration: Configuration, faults: Faults, *, by_model: bool) -> None:
    """Refuse options of images for a model, and those that were measured for rain alone for another variable."""
    if not by_model and configuration.kind == "rain":
        return
    given: dict[str, Any] = {"kind": None if options.kind == "sharp" else options.kind, "members": options.members}
    code, of = "of-rain-alone", f"of a variable that is no rain but {configuration.kind}"
    if by_model:
        given = {"without": options.without or None, **given}
        code, of = "option-of-images", "with a forecast by a model"
    for name, value in given.items():
        if value is not None:
            _refuse(faults, code, f"{name}={value!r} {of}", None if by_model else configuration.variable, option=name)


def _read_from_images(configuration: Configuration, options: _Options) -> list[str]:
    """Return the variables of an analysis of images that a forecast reads."""
    names = [f"{configuration.variable}_observed", configuration.variable, "u", "v", "image_scale", "status"]
    names += [] if configuration.transient is None else ["u_transient", "v_transient", "growth"]
    return names + (["octave_correlation", "growth_error"] if options.members and configuration.kind == "rain" else [])


def _components(data: xr.Dataset, analysed: Analysed, model: Any) -> dict[str, tuple[str, ...]]:
    """Return the variables of each component of the state of a model."""
    configuration = analysed.configuration
    stated = components_of(model, configuration.variable) or configuration.components
    if stated is not None:
        return stated
    if configuration.has_state:  # written by version 0.1, which did not record them
        dims = ("window", "step", *analysed.plane)
        return {str(name): (str(name),) for name, part in data.data_vars.items() if part.dims == dims}
    return {name: (name,) for name in (configuration.variable, "u", "v")}


def _integrate(
    data: xr.Dataset, analysed: Analysed, leads: tuple[float, ...], names: list[str], solve: Callable[..., Any]
) -> dict[str, xr.Variable]:
    """Return the variables of the state at all leads, by the model."""
    configuration = analysed.configuration
    solve = bound(solve, parameters={name: data[name].ndim > 1 for name in configuration.parameters})
    fields = [*(_at_end(data, name) for name in names), *(data[name] for name in configuration.parameters)]
    dims = ("lead_time", *analysed.plane)
    results = _by_window(solve, fields, analysed, leads, [dims] * len(names), [configuration.dtype] * len(names))
    return dict(zip(names, results, strict=True))


def _extrapolate(
    data: xr.Dataset, analysed: Analysed, leads: tuple[float, ...], options: _Options
) -> dict[str, xr.Variable]:
    """Extrapolate images, without the parts that are left out."""
    from xvar.core.methods.nowcast import MEAN_DAMPING
    from xvar.core.methods.nowcast_ensemble import NowcastEnsemble

    configuration, name = analysed.configuration, analysed.configuration.variable
    # Holes of the last image are filled by what the motion brought there from earlier ones.
    fields = {"observed": data[f"{name}_observed"].fillna(_at_end(data, name))}
    fields |= {part: _at_end(data, part) for part in ("u", "v")}
    nothing = xr.zeros_like(fields["u"])
    fading = ("u_transient", "v_transient", "growth")
    fields |= {part: nothing if configuration.transient is None else data[part] for part in fading}
    if "transient" in options.without:
        fields |= {part: fields[part] - fields[f"{part}_transient"] for part in ("u", "v")}
    fields |= {part: data[part] for part in ("image_scale", "status")}
    unknown = xr.full_like(data["image_scale"], np.nan).expand_dims(age=1, axis=1)  # version 0.1 did not record it
    fields["motion_skill"] = data.get("motion_skill", unknown)
    fields["number"] = xr.DataArray(np.arange(data.sizes["window"]), dims="window")
    dims, ensemble = ("lead_time", *analysed.plane), None
    if options.members is not None:
        ensemble = NowcastEnsemble(options.members)
        fields |= {part: data[part] for part in ("octave_correlation", "growth_error")}
        fields["seed"] = xr.DataArray(window_seeds(data["forecast_reference_time"].values, options.seed), dims="window")
    nowcast = configuration.nowcast()
    if options.kind == "mean":
        nowcast = replace(nowcast, sharpness=None, damping=MEAN_DAMPING)
    left_out: dict[str, Any] = {PARTS[part]: None for part in options.without}
    solve = bound(extrapolate_windows, nowcast=replace(nowcast, **left_out), ensemble=ensemble)
    outputs = [dims if ensemble is None else ("member", *dims), dims]
    types = [configuration.dtype, "int8"]
    images, outside = _by_window(solve, fields.values(), analysed, leads, outputs, types, members=options.members)
    return {name: images, "origin": outside}


def _by_window(
    solve: Callable[..., tuple[NDArray[Any], ...]],
    fields: Iterable[xr.DataArray],
    analysed: Analysed,
    leads: tuple[float, ...],
    outputs: Sequence[tuple[Hashable, ...]],
    types: list[str],
    members: int | None = None,
) -> tuple[xr.Variable, ...]:
    """Call a function of arrays (window, ...) and return its results, lazy if the analysis is."""
    configuration = analysed.configuration
    call = bound(
        solve,
        grid=analysed.grid,
        leads=leads,
        frame=configuration.frame,
        dtype=configuration.dtype,
        device=configuration.device,
    )
    arrays = [field.variable for field in fields]
    sizes = {"lead_time": len(leads)} | ({} if members is None else {"member": members})
    results = xr.apply_ufunc(
        call if len(outputs) > 1 else lambda *values: call(*values)[0],
        *arrays,
        input_core_dims=[[dim for dim in array.dims if dim != "window"] for array in arrays],
        output_core_dims=outputs,
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": sizes, "allow_rechunk": True},
        output_dtypes=types,
    )
    return results if len(outputs) > 1 else (results,)


def _at_end(data: xr.Dataset, name: str) -> xr.DataArray:
    """Return a variable at the last frame of each window; some may have fewer frames than others."""
    missing = data["time"].isnull().values
    if not missing.any():
        return data[name].isel(step=-1)
    last = missing.shape[1] - 1 - (~missing)[:, ::-1].argmax(axis=1)
    at_end = xr.DataArray(np.arange(missing.shape[1]) == last[:, None], dims=("window", "step"))
    return data[name].where(at_end).max("step")


def _labelled(
    data: xr.Dataset, analysed: Analysed, leads: tuple[float, ...], fields: Mapping[str, xr.Variable]
) -> xr.Dataset:
    configuration, plane = analysed.configuration, analysed.plane
    reference = data["forecast_reference_time"]
    ahead = np.round(np.array(leads) * 1e9).astype("timedelta64[ns]")
    durations = ahead if reference.dtype.kind == "M" else ahead.astype("timedelta64[us]").astype(object)
    mapping = {key: part for key, part in data[configuration.variable].attrs.items() if key == "grid_mapping"}
    coordinates: dict[Hashable, Any] = {
        **{key: part for key, part in data.coords.items() if set(part.dims) <= set(plane)},
        "lead_time": ("lead_time", ahead, attributes("lead_time")),
        "time": (("window", "lead_time"), reference.values[:, None] + durations, dict(data["time"].attrs)),
        "forecast_reference_time": ("window", reference.values, dict(reference.attrs)),
    }
    members = fields[configuration.variable].sizes.get("member")
    if members is not None:
        coordinates["member"] = ("member", np.arange(members, dtype="int32"), attributes("member"))
    attrs = {name: dict(data[name].attrs) if name in data else {**attributes(name), **mapping} for name in fields}
    if "origin" in fields:
        attrs[configuration.variable]["ancillary_variables"] = "origin"
    variables = {name: (field.dims, field.data, attrs[name]) for name, field in fields.items()}
    return xr.Dataset(variables, coordinates, dict(data.attrs))
