"""Forecasts from an analysis."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial as bound
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.forecast_options import (
    PARTS,
    ForecastOptions,
    Kind,
    forecast_model,
    lead_times,
    read_options,
    refuse,
    refuse_options,
    refuse_unobserved,
)
from xvar.analysis.outputs import Analysed, at_end, read_analysis, with_windows
from xvar.cf.conventions import to_cf
from xvar.cf.metadata import attributes
from xvar.cf.times import parse_duration
from xvar.errors import Faults
from xvar.plan.configuration import Configuration
from xvar.plan.forecast_bridge import extrapolate_windows, integrate_windows
from xvar.plan.method import components_of
from xvar.plan.uncertainty import window_seeds


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
    forecast of rain has five parts beside that:

    .. math::

        \dot X = w(X) \, \frac{d}{dt} t \, a(t) + q(X) \, \frac{d}{dt} t \, e^{-t / 2.5 \tau_q}, \qquad
        \dot I = s \, e^{-t / \tau_s}

    - ``transient``: the displacement by the motion of the newest pair of images, q, about the steady motion of the
      window, w, returns to zero;
    - ``motion_fading``: the displacement by the steady motion returns, :math:`a < 1`, if the share of the misfit of
      earlier images that it explains, ``motion_skill``, is low or falls with their age: such rain falls again in its
      place;
    - ``growth``: the rain of a parcel, as its root, grows or decays by the source s, which moves with it and decays;
    - ``power_limit``: growth adds power at short wavelengths that later images do not have; in each octave of
      wavelength it is limited to about that of the image carried without growth;
    - ``short_waves``: interpolation damps waves of 2.8 to 5.7 cells; their power is raised to most of that of the last
      image.

    If a path begins outside the grid, the last image stays, and ``origin`` is 1. `xvar.core.methods.nowcast.Nowcast`
    has the equations. From a model, the forecast continues from the analysed state at the end of the window.

    Parameters
    ----------
    data : Dataset
        An analysis, or one window of it, from memory or from a file: a forecast has the same bits from either.
    lead : duration
        Lead time of the last forecast, rounded down to a multiple of `every`: "30min", datetime.timedelta,
        numpy.timedelta64. At most 144 times that between frames, but for a model of the user's own.
    every : duration, optional
        Time between forecasts. Default: that between frames.
    kind : {"sharp", "mean"}
        ``"sharp"`` has the power of an observed image at every wavelength. ``"mean"`` has the least squared error and
        is smoother the longer the lead: without the last two parts, and with the cosine coefficients of rain times
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
        Parts to leave out, of "transient", "growth", "power_limit", "short_waves" and "motion_fading". The power limit
        has an effect on growth alone.
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
    data = with_windows(data)
    analysed = read_analysis(data, faults)
    if analysed is not None and not analysed.configuration.has_state:
        refuse_unobserved(data, faults)
    horizon = parse_duration(lead, "lead", faults)
    step = None if every is None else parse_duration(every, "every", faults)
    options = read_options(kind, members, seed, without, faults)
    analysed, horizon = faults.require(analysed), faults.require(horizon)
    configuration = analysed.configuration
    by_model = dynamics is not None or configuration.has_state
    model = forecast_model(configuration, dynamics, faults) if by_model else None
    leads = lead_times(horizon, step, configuration.frame, model, faults)
    refuse_options(options, configuration, faults, by_model=by_model)
    components = _components(data, analysed, model) if by_model else {}
    state = [name for parts in components.values() for name in parts]
    names = [*state, *configuration.parameters] if by_model else _read_from_images(configuration, options)
    for name in names:
        if name not in data:
            refuse(faults, "variable-missing", "an analysis without it", variable=name)
    faults.raise_if_any()
    if by_model:
        fields = _integrate(data, analysed, leads, state, bound(integrate_windows, model=model, components=components))
    else:
        fields = _extrapolate(data, analysed, leads, options)
    result = _labelled(data, analysed, leads, fields)
    if not by_model:
        result.attrs |= {"forecast_kind": options.kind} | ({} if members is None else {"forecast_seed": options.seed})
    return to_cf(result, data, action=f'forecast("{configuration.variable}", {horizon:g} s{options.words})')


def _read_from_images(configuration: Configuration, options: ForecastOptions) -> list[str]:
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
    fields = [*(at_end(data, name) for name in names), *(data[name] for name in configuration.parameters)]
    dims = ("lead_time", *analysed.plane)
    results = _by_window(solve, fields, analysed, leads, [dims] * len(names), [configuration.dtype] * len(names))
    return dict(zip(names, results, strict=True))


def _extrapolate(
    data: xr.Dataset, analysed: Analysed, leads: tuple[float, ...], options: ForecastOptions
) -> dict[str, xr.Variable]:
    """Extrapolate images, without the parts that are left out."""
    from xvar.core.methods.nowcast import MEAN_DAMPING
    from xvar.core.methods.nowcast_ensemble import NowcastEnsemble

    configuration, name = analysed.configuration, analysed.configuration.variable
    # Holes of the last image are filled by what the motion brought there from earlier ones.
    fields = {"observed": data[f"{name}_observed"].fillna(at_end(data, name))}
    fields |= {part: at_end(data, part) for part in ("u", "v")}
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
        nowcast = replace(nowcast, sharpness=None, restored=None, damping=MEAN_DAMPING)
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
