"""Forecasts from an analysis."""

from __future__ import annotations

import datetime
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial as bound
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes
from xvar.cf.conventions import to_cf
from xvar.cf.grid import HorizontalGrid, horizontal_grid
from xvar.cf.metadata import attributes
from xvar.cf.times import parse_duration
from xvar.errors import Faults
from xvar.plan.configuration import ATTRIBUTE, Configuration
from xvar.plan.forecast_bridge import extrapolate_windows, integrate_windows
from xvar.plan.models import components_of, named_models

#: What a forecast from images has beyond the last of them carried along a motion that stays as it is.
PARTS = ("transient", "growth", "power_limit")


@dataclass(frozen=True)
class Analysed:
    """What a forecast reads from an analysis."""

    configuration: Configuration
    grid: HorizontalGrid
    plane: tuple[Hashable, Hashable]


def forecast(
    data: xr.Dataset,
    lead: Any,
    every: Any = None,
    *,
    dynamics: Any = None,
    without: str | Sequence[str] = (),
) -> xr.Dataset:
    r"""Carry each window of an analysis on into the future.

    Where no model was stated, the last image is extrapolated along the analysed motion. Every point takes the value of
    the parcel that reaches it, interpolated once, bilinearly, from the last image as it was observed, its holes filled
    by the analysis. That of rain is more than the last image along a motion that stays as it is:

    .. math::

        \dot X = w(X) + q(X) \, e^{-t / \tau_q}, \qquad \dot I = s \, e^{-t / \tau_s}

    - ``transient``: the motion of the newest pair of images, q, fades into the steady motion of the window, w;
    - ``growth``: what a parcel carries grows or decays on its way by the source s, which stays with it and fades, rain
      as its root and only where it rains;
    - ``power_limit``: growth adds power at short wavelengths that later images do not have; in each octave of
      wavelength it is held to about that of the image carried without growth.

    Each of them can be left out, to see what it is worth. Where a path comes from outside the grid the last image
    stays, and ``origin`` says so. `xvar.core.methods.nowcast.Nowcast` has the equations.

    Where a model was stated, it goes on from the analysed state at the end of the window.

    Parameters
    ----------
    data : Dataset
        An analysis, from memory or from a file: a forecast has the same bits from either.
    lead : duration
        How far ahead: "30min", datetime.timedelta, numpy.timedelta64.
    every : duration, optional
        Time between forecasts, which are at its multiples. Default: the time between frames.
    dynamics : xvar.dynamics.Advection or callable, optional
        The model that goes on; by default the one of the analysis. A model of your own is in no file: state it again.
    without : str or sequence of str
        Parts that are left out, of "transient", "growth" and "power_limit". Without the transient motion the steady one
        stays alone; without growth there is no power to be held. Leaving out what an analysis has not, as that of the
        sea, changes nothing.

    Returns
    -------
    Dataset
        The variable in its own units and ``origin``, dimensions (window, lead_time, y, x), with
        ``forecast_reference_time(window)`` and valid ``time(window, lead_time)``. Lazy where the analysis is.

    Raises
    ------
    InputError
        Where `data` is no analysis, `lead` is no positive duration or shorter than `every`, or what is to be left out
        is no part of the forecast, as none is where a model goes on.

    Examples
    --------
    >>> import xvar
    >>> analysis = xvar.datasets.sample().var4d.assimilate()
    >>> analysis.var4d.forecast("15min").sizes["lead_time"]
    3
    """
    faults = Faults()
    analysed = read_analysis(data, faults)
    horizon = parse_duration(lead, "lead", faults)
    step = None if every is None else parse_duration(every, "every", faults)
    left_out = _parts(without, faults)
    faults.raise_if_any()
    assert analysed is not None
    assert horizon is not None
    configuration = analysed.configuration
    step = configuration.frame if step is None else step
    count = math.floor(horizon / step + 1e-6)
    if count < 1:
        faults.add(
            found=f"lead of {horizon:g} s, less than the {step:g} s between forecasts",
            expected="a lead of at least one step",
            fix='a longer lead, or a shorter one of every=, such as every="5min"',
        )
        faults.raise_if_any()
    leads = tuple(step * (index + 1) for index in range(count))
    name = configuration.variable
    if dynamics is None and configuration.dynamics is None:
        fields = _extrapolate(data, analysed, leads, left_out)
    else:
        if left_out:
            faults.add(
                found=f"without={left_out} where a model goes on",
                expected="the extrapolation of images, which alone has these parts",
                fix="leave out without=",
            )
        model = _model(configuration, dynamics, faults)
        faults.raise_if_any()
        fields = _integrate(data, analysed, leads, model)
    result = _labelled(data, analysed, leads, fields)
    said = "".join(f", without {part}" for part in left_out)
    return to_cf(result, data, action=f'forecast("{name}", {horizon:g} s{said})')


def _parts(without: str | Sequence[str], faults: Faults) -> tuple[str, ...]:
    """What is left out, in the order of the parts."""
    names = (without,) if isinstance(without, str) or not isinstance(without, Iterable) else tuple(without)
    for name in names:
        if name not in PARTS:
            faults.add(
                found=f"without={name!r}",
                expected=f"parts of the forecast: {', '.join(PARTS)}",
                fix='such as without="growth", or without=("transient", "growth")',
            )
    return tuple(part for part in PARTS if part in names)


def read_analysis(data: xr.Dataset, faults: Faults) -> Analysed | None:
    """The configuration and the grid of an analysis."""
    text = data.attrs.get(ATTRIBUTE)
    configuration = None if text is None else Configuration.from_json(text)
    if configuration is not None and configuration.dynamics is not None and configuration.variable in data:
        # By a model, from images or from points: these have no last image, and it needs none.
        state = data[configuration.variable]
        observed = state.isel(step=-1) if "step" in state.dims else state
    elif configuration is not None and f"{configuration.variable}_observed" in data:
        observed = data[f"{configuration.variable}_observed"]
    else:
        faults.add(
            found=f"a Dataset without {'the attribute ' + ATTRIBUTE if text is None else 'the last observed frame'}",
            expected="an analysis, as assimilate() gives it",
            fix="analysis = ds.var4d.assimilate(); analysis.var4d.forecast(...)",
        )
        return None
    plane = (observed.dims[-2], observed.dims[-1])
    axes = Axes(time="window", y=plane[0], x=plane[1])
    grid = horizontal_grid(observed, axes, faults, configuration.dx, configuration.dy, mapping=data)
    return None if grid is None else Analysed(configuration, grid, plane)


def _model(configuration: Configuration, dynamics: Any, faults: Faults) -> Any:
    """The model that goes on."""
    model = configuration.model() if dynamics is None else dynamics
    if isinstance(model, str):
        model = named_models().get(model, model)
    if model is None or isinstance(model, str):
        faults.add(
            found=f"dynamics={dynamics!r} for an analysis by {configuration.dynamics}",
            expected="the model that goes on: it is your own, and in no file",
            fix="forecast(lead, dynamics=model)",
        )
    return model


def _integrate(data: xr.Dataset, analysed: Analysed, leads: tuple[float, ...], model: Any) -> dict[str, xr.DataArray]:
    """The variables of the state at all leads, by the model."""
    configuration, plane = analysed.configuration, analysed.plane
    names = tuple(str(name) for name, part in data.data_vars.items() if part.dims == ("window", "step", *plane))
    components = components_of(model, configuration.variable) or {name: (name,) for name in names}
    state = [data[name].isel(step=-1) for parts in components.values() for name in parts]
    held = {name: data[name].ndim > 1 for name in configuration.parameters}
    solve = bound(
        integrate_windows,
        grid=analysed.grid,
        model=model,
        components=components,
        leads=leads,
        frame=configuration.frame,
        dtype=configuration.dtype,
        device=configuration.device,
        parameters=held,
    )
    fields = [*state, *(data[name] for name in held)]
    results = xr.apply_ufunc(
        solve if len(state) > 1 else bound(_only, solve),
        *(field.drop_vars(list(field.coords)) for field in fields),
        input_core_dims=[*[plane] * len(state), *(plane if is_field else () for is_field in held.values())],
        output_core_dims=[("lead_time", *plane)] * len(state),
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {"lead_time": len(leads)}, "allow_rechunk": True},
        output_dtypes=[configuration.dtype] * len(state),
    )
    names = tuple(name for parts in components.values() for name in parts)
    return dict(zip(names, results if len(names) > 1 else (results,), strict=True))


def _only(solve: Any, *fields: NDArray[Any]) -> NDArray[Any]:
    """The one result of a model of one variable."""
    (result,) = solve(*fields)
    return np.asarray(result)


def _extrapolate(
    data: xr.Dataset, analysed: Analysed, leads: tuple[float, ...], left_out: tuple[str, ...]
) -> dict[str, xr.DataArray]:
    """Forecasts and origins, window by window where the analysis is lazy."""
    configuration, plane = analysed.configuration, analysed.plane
    # Holes of the last image are filled by what the motion brought there from earlier ones.
    analysed_image = data[configuration.variable].isel(step=-1)
    fields = {"observed": data[f"{configuration.variable}_observed"].fillna(analysed_image)}
    fields |= {name: data[name].isel(step=-1) for name in ("u", "v")}
    names = ("u_transient", "v_transient", "growth")
    fields |= {name: data[name] if name in data else xr.zeros_like(fields["u"]) for name in names}
    fields["image_scale"] = data["image_scale"]
    nowcast = configuration.nowcast()
    if "transient" in left_out:
        fields |= {name: fields[name] - fields[f"{name}_transient"] for name in ("u", "v")}
        nowcast = replace(nowcast, transient=None)
    if "growth" in left_out:
        nowcast = replace(nowcast, source=None)
    if "power_limit" in left_out:
        nowcast = replace(nowcast, sharpness=None)
    solve = bound(
        extrapolate_windows,
        grid=analysed.grid,
        nowcast=nowcast,
        leads=leads,
        frame=configuration.frame,
        dtype=configuration.dtype,
        device=configuration.device,
    )
    images, outside = xr.apply_ufunc(
        solve,
        *(field.drop_vars(list(field.coords)) for field in fields.values()),
        input_core_dims=[*[plane] * 6, ()],
        output_core_dims=[("lead_time", *plane)] * 2,
        dask="parallelized",
        dask_gufunc_kwargs={"output_sizes": {"lead_time": len(leads)}, "allow_rechunk": True},
        output_dtypes=[configuration.dtype, "int8"],
    )
    return {configuration.variable: images, "origin": outside}


def _labelled(
    data: xr.Dataset, analysed: Analysed, leads: tuple[float, ...], fields: Mapping[str, xr.DataArray]
) -> xr.Dataset:
    configuration, plane = analysed.configuration, analysed.plane
    reference = data["forecast_reference_time"]
    kept = {key: part for key, part in data.coords.items() if set(part.dims) <= set(plane)}
    mapping = {key: part for key, part in data[configuration.variable].attrs.items() if key == "grid_mapping"}
    coordinates: Mapping[Hashable, Any] = {
        **kept,
        "lead_time": ("lead_time", np.array(leads) * np.timedelta64(10**9, "ns"), attributes("lead_time")),
        "time": (("window", "lead_time"), valid_times(reference.values, leads), dict(data["time"].attrs)),
        "forecast_reference_time": ("window", reference.values, dict(reference.attrs)),
    }
    attrs = {name: dict(data[name].attrs) if name in data else {**attributes(name), **mapping} for name in fields}
    if "origin" in fields:
        attrs[configuration.variable]["ancillary_variables"] = "origin"
    variables = {name: (field.dims, field.data, attrs[name]) for name, field in fields.items()}
    return xr.Dataset(variables, coordinates, dict(data.attrs))


def valid_times(reference: NDArray[Any], leads: tuple[float, ...]) -> NDArray[Any]:
    """Times (window, lead) by the calendar of the reference times (window,)."""
    if reference.dtype.kind == "M":
        steps = np.round(np.array(leads) * 1e9).astype("timedelta64[ns]")
        return np.asarray(reference[:, None] + steps)
    steps = np.array([datetime.timedelta(seconds=lead) for lead in leads], dtype=object)
    return np.asarray(reference[:, None] + steps)
