"""Products of ensembles: probabilities of events, quantiles, and accumulations of rain."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xvar.analysis.outputs import configuration_of
from xvar.analysis.verify.events import Events, make_events
from xvar.cf.conventions import to_cf
from xvar.cf.metadata import attributes
from xvar.cf.units import rain_rate_factor
from xvar.errors import Fault, Faults, InputError
from xvar.plan.configuration import ATTRIBUTE, Configuration


def probability(data: xr.Dataset, above: float | Sequence[float]) -> xr.Dataset:
    r"""Return the probability of events, the share of members at or above a threshold.

    .. math:: p = \tfrac1M \sum_i [f_i \ge \mathrm{threshold}]

    Parameters
    ----------
    data : Dataset
        A forecast with members, its `accumulation`, or a nowcast with probabilities.
    above : float or sequence of float
        Thresholds: in mm h-1 for rain, whatever the units of the file, else in the units of the variable. Of a nowcast
        some of its own.

    Returns
    -------
    Dataset
        ``probability_of_<name>_above_threshold`` (window, lead_time, y, x), with ``threshold`` as a scalar coordinate,
        or as the first dimension of several. NaN if the forecast is unknown. Lazy if the forecast is.

    Raises
    ------
    InputError
        If `data` has neither members nor such a probability, `above` is no number, or rain has no rate for thresholds
        in mm h-1.

    Examples
    --------
    >>> import xvar
    >>> forecast = xvar.datasets.sample().var4d.assimilate().var4d.forecast("10min", members=4)
    >>> list(forecast.var4d.probability(above=5).data_vars)
    ['probability_of_rain_above_threshold']
    """
    configuration = configuration_of(data, "lead_time", output="forecast")
    name = configuration.variable
    own = f"probability_of_{name}_above_threshold"
    if own in data:
        share = _stored(data[own], above)
        attrs, threshold = share.attrs, share["threshold"].variable
        data = data.drop_vars("threshold")
    else:
        with_members(data)
        share, events = _share_of_members(data[name], above, configuration)
        attrs = attributes("event_probability", variable=name)
        labels = attributes("threshold", units=events.units, kind=configuration.kind)
        threshold = xr.Variable("threshold", np.array(events.thresholds), labels)
    result = _labelled(data, own, share, attrs).assign_coords(threshold=threshold)
    result = result.squeeze("threshold") if np.ndim(above) == 0 else result
    return to_cf(result, data, action=f'probability("{name}", above={above})')


def quantiles(data: xr.Dataset, levels: Sequence[float] = (0.1, 0.5, 0.9)) -> xr.Dataset:
    """Return quantiles of the members, interpolated linearly between them.

    Parameters
    ----------
    data : Dataset
        A forecast with members, or its `accumulation`.
    levels : sequence of float
        Between 0 and 1.

    Returns
    -------
    Dataset
        The variable (quantile, window, lead_time, y, x). Lazy if the forecast is.

    Raises
    ------
    InputError
        If `data` has no members, or a level is no number from 0 to 1.
    """
    name = with_members(data).variable
    chosen = np.atleast_1d(np.asarray(levels))
    if chosen.ndim != 1 or chosen.dtype.kind not in "iuf" or not ((chosen >= 0) & (chosen <= 1)).all():
        fix = "levels=(0.1, 0.5, 0.9)"
        raise InputError(Fault(f"levels={levels!r}", "numbers from 0 to 1", fix, code="levels-invalid"))
    members = data[name]
    values = members.quantile(chosen, "member", skipna=False).astype(members.dtype)
    result = _labelled(data, name, values, dict(members.attrs))
    result["quantile"] = ("quantile", chosen.astype("float64"), attributes("quantile"))
    return to_cf(result, data, action=f'quantiles("{name}", {chosen.tolist()})')


def accumulation(data: xr.Dataset) -> xr.Dataset:
    r"""Return the rain from the end of the window to each lead time.

    .. math:: A(t_n) = \sum_{i \le n} R(t_i) \, (t_i - t_{i-1})

    Parameters
    ----------
    data : Dataset
        A forecast of rain, of members or not.

    Returns
    -------
    Dataset
        ``<name>_accumulation`` in mm with the dimensions of the forecast: members stay films, so that their
        accumulations have the spread of the ensemble. Lazy if the forecast is.

    Raises
    ------
    InputError
        If `data` is no forecast, or its variable has no rain rate.
    """
    configuration = configuration_of(data, "lead_time", output="forecast")
    name = configuration.variable
    rain = data[name]
    factor = rain_rate_factor(str(rain.attrs.get("units", "1")), configuration.interval)
    if configuration.kind != "rain" or factor is None:
        found = f"{configuration.kind} in {rain.attrs.get('units', 'no units')!r}"
        expected = "a rate of rain, or an amount over a known interval"
        fix = f"ds[{name!r}].attrs['cell_methods'] = 'time: sum (interval: 5 minutes)' states it"
        raise InputError(Fault(found, expected, fix, name, code="rain-without-rate"))
    hours = (data["lead_time"] / np.timedelta64(3600, "s")).drop_vars(list(data["lead_time"].coords))
    steps = hours.copy(data=np.diff(hours.values, prepend=0.0))
    amount = (rain * (steps * factor).astype(rain.dtype)).cumsum("lead_time", skipna=False)
    own = f"{name}_accumulation"
    attrs = attributes("accumulation", variable=name, units="mm")
    result = _labelled(data, own, amount.transpose(*rain.dims), attrs)
    result.attrs[ATTRIBUTE] = replace(configuration, variable=own, kind="other", interval=None).to_json()
    return to_cf(result, data, action=f'accumulation("{name}")')


def with_members(data: xr.Dataset) -> Configuration:
    """Return the configuration of a forecast with members."""
    configuration = configuration_of(data, "lead_time", "{variable}", output="forecast")
    name = configuration.variable
    if "member" not in data[name].dims:
        fix = 'analysis.var4d.forecast("30min", members=20)'
        raise InputError(Fault("a forecast without members", "an ensemble", fix, name, code="members-missing"))
    return configuration


def _share_of_members(members: xr.DataArray, above: Any, configuration: Configuration) -> tuple[xr.DataArray, Events]:
    """Return the share of members at or above thresholds, and these."""
    faults = Faults()
    events = make_events(tuple(np.atleast_1d(above)), str(members.attrs.get("units", "1")), configuration, faults)
    faults.raise_if_any()
    limits = xr.DataArray(np.array(events.limits, dtype=members.dtype), dims="threshold")
    share = (members >= limits).mean("member", dtype=members.dtype).where(members.notnull().all("member"))
    return share.transpose("threshold", *(dim for dim in members.dims if dim != "member")), events


def _stored(share: xr.DataArray, above: float | Sequence[float]) -> xr.DataArray:
    """Return the probabilities that a file holds at some of its thresholds."""
    share = share if "threshold" in share.dims else share.expand_dims("threshold")
    known, wanted = share["threshold"].values, list(np.atleast_1d(above))
    if not np.isin(wanted, known).all():
        found, expected = f"above={above}", f"thresholds of the file: {', '.join(f'{one:g}' for one in known)}"
        raise InputError(Fault(found, expected, f"above={known[0]:g}", str(share.name), code="threshold-not-stored"))
    return share.sel(threshold=wanted)


def _labelled(data: xr.Dataset, name: str, values: xr.DataArray, attrs: dict[str, Any]) -> xr.Dataset:
    """Return a Dataset of one product, with the coordinates and the grid mapping of the forecast."""
    kept: dict[Hashable, Any] = {key: part for key, part in data.coords.items() if set(part.dims) <= set(values.dims)}
    source = data.get(configuration_of(data).variable, values).attrs
    attrs = {**{key: part for key, part in source.items() if key == "grid_mapping"}, **attrs}
    attrs.pop("ancillary_variables", None)
    return xr.Dataset({name: (values.dims, values.data, attrs)}, kept, dict(data.attrs))
