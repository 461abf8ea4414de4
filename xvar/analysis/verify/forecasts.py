"""Scores of forecasts by lead time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial as bound
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.verify.events import SCALE, Events, exceed, make_events, parse_length, refuse_scale, square
from xvar.analysis.verify.truth import find_truth, read_truth
from xvar.cf.axes import Axes, find_axes
from xvar.cf.conventions import identity, to_cf
from xvar.cf.grid import horizontal_grid
from xvar.cf.metadata import attributes
from xvar.errors import Faults
from xvar.plan.configuration import ATTRIBUTE, Configuration

BY_WINDOW, POOLED = ("window", "lead_time"), ("lead_time",)
COUNTS = {"hits": "tp_count", "misses": "fn_count", "false_alarms": "fp_count", "correct_negatives": "tn_count"}


@dataclass(frozen=True)
class Pairs:
    """Forecasts and truths (window, lead_time, y, x), NaN in both where either is missing.

    Attributes
    ----------
    forecast, truth : DataArray
        In float64.
    paired : DataArray of bool
        Where there are both.
    """

    forecast: xr.DataArray
    truth: xr.DataArray
    paired: xr.DataArray

    @classmethod
    def of(cls, forecast: NDArray[Any], truth: NDArray[Any]) -> Pairs:
        """Pair two arrays of the same shape."""
        paired = np.isfinite(forecast) & np.isfinite(truth)
        dims = (*BY_WINDOW, "y", "x")
        kept, true = (xr.DataArray(np.where(paired, part, np.nan), dims=dims) for part in (forecast, truth))
        return cls(kept, true, xr.DataArray(paired, dims=dims))


def verify_forecast(
    data: xr.Dataset, truth: xr.Dataset | xr.DataArray, thresholds: Sequence[float], scale: float | str
) -> xr.Dataset:
    """Scores of a forecast, see `xvar.analysis.verify.verify`."""
    faults = Faults()
    configuration = _configuration(data, faults)
    faults.raise_if_any()
    assert configuration is not None
    forecast, times, reference = _arranged(data, configuration.variable)
    axes = find_axes(forecast.isel(window=0, lead_time=0, drop=True).expand_dims("time"), faults)
    faults.raise_if_any()
    assert axes is not None
    units = str(forecast.attrs.get("units", "1"))
    events = make_events(thresholds, units, configuration, faults)
    forecast = forecast.transpose(*BY_WINDOW, axes.y, axes.x)
    side = parse_length(scale, "scale", faults)
    shape, notes = None, [events.note] if events.note else []
    if events.limits:
        stand_in = Axes(time="window", y=axes.y, x=axes.x)
        grid = horizontal_grid(forecast, stand_in, faults, configuration.dx, configuration.dy, mapping=data)
        if grid is not None and np.isfinite(side):
            shape = square(side, grid)
            if shape is None and scale != SCALE:
                refuse_scale(side, grid, faults)
            elif shape is None:
                notes.append(f"no fss: squares of {SCALE} do not fit into the grid, scale= states others")
    variable = find_truth(truth, configuration.variable, configuration.kind, faults)
    known = None
    if variable is not None:
        known = read_truth(variable, forecast, axes, units, faults, frame=configuration.interval)
    faults.raise_if_any()
    assert known is not None
    without = known.indices(times) < 0
    if without.all():
        _refuse_times(times, list(known.frame), faults)
    values = np.full(forecast.shape, np.nan)
    for window, lead in zip(*np.nonzero(~without), strict=True):
        values[window, lead] = forecast[int(window), int(lead)].values
    observed = known.at(times)
    fields = _scores(Pairs.of(values, observed), events, shape)
    if reference is not None and (known.indices(reference) >= 0).any():
        last = np.broadcast_to(known.at(reference)[:, None], observed.shape)
        fields |= _scores(Pairs.of(last, observed), events, shape, of="_persistence", only=("rmse", "csi", "fss"))
    fields["number_without_truth"] = xr.DataArray(without.sum(axis=0), dims=POOLED)
    scored = _labelled(data, fields, configuration, events, side, units)
    if notes:
        scored.attrs["comment"] = "; ".join(notes)
    source = truth if isinstance(truth, xr.Dataset) else truth.to_dataset(name="truth")
    return to_cf(scored, data, action=f'verify("{configuration.variable}") against {identity(source)}')


def _configuration(data: xr.Dataset, faults: Faults) -> Configuration | None:
    text = data.attrs.get(ATTRIBUTE)
    configuration = None if text is None else Configuration.from_json(text)
    if configuration is None or configuration.variable not in data:
        missing = f"the attribute {ATTRIBUTE}" if configuration is None else f"the variable {configuration.variable!r}"
        faults.add(
            found=f"a Dataset without {missing}",
            expected="a forecast, as forecast() gives it",
            fix='analysis.var4d.forecast("30min").var4d.verify(truth)',
        )
        return None
    return configuration


def _arranged(data: xr.Dataset, name: str) -> tuple[xr.DataArray, NDArray[Any], NDArray[Any] | None]:
    """The forecast with both its dimensions, also where one was chosen, valid times and reference times."""
    forecast, times = data[name], data["time"]
    for dim in BY_WINDOW:
        if dim not in forecast.dims:
            forecast = forecast.expand_dims(dim)
        if dim not in times.dims:
            times = times.drop_vars(list(times.coords)).expand_dims({dim: forecast.sizes[dim]})
    reference = data.coords.get("forecast_reference_time")
    last = None if reference is None else np.broadcast_to(reference.values, (forecast.sizes["window"],))
    return forecast, times.transpose(*BY_WINDOW).values, last


def _refuse_times(times: NDArray[Any], known: Iterable[Any], faults: Faults) -> None:
    have = sorted(known)
    faults.add(
        dimension="time",
        found=f"no forecast time in the truth: forecasts from {times.min()} to {times.max()}, truth from {have[0]} to "
        f"{have[-1]}",
        expected="a truth at one forecast time at least; nothing is interpolated",
        fix="a longer truth, or forecasts at its times by every=",
    )
    faults.raise_if_any()


def _scores(
    pairs: Pairs, events: Events, shape: tuple[int, int] | None, *, of: str = "", only: tuple[str, ...] | None = None
) -> dict[str, xr.DataArray]:
    """Scores of pairs, over all windows and for each; `of` tells apart whose they are, `only` which are wanted."""
    fields: dict[str, xr.DataArray] = {}
    for suffix, kept in (("", POOLED), ("_by_window", BY_WINDOW)):
        found = {**_continuous(pairs, kept), **_categorical(pairs, kept, events, shape)}
        fields |= {f"{name}{of}{suffix}": part for name, part in found.items() if only is None or name in only}
    return fields


def _continuous(pairs: Pairs, kept: tuple[str, ...]) -> dict[str, xr.DataArray]:
    from scores import continuous

    calls = {
        "rmse": continuous.rmse,
        "bias": continuous.additive_bias,
        "mae": continuous.mae,
        "correlation": continuous.correlation.pearsonr,
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        fields = {name: call(pairs.forecast, pairs.truth, preserve_dims=kept) for name, call in calls.items()}
    fields["number_of_pairs"] = pairs.paired.sum(_reduced(kept))
    return fields


def _reduced(kept: tuple[str, ...]) -> list[Hashable]:
    return [dim for dim in (*BY_WINDOW, "y", "x") if dim not in kept]


def _categorical(
    pairs: Pairs, kept: tuple[str, ...], events: Events, shape: tuple[int, int] | None
) -> dict[str, xr.DataArray]:
    from scores.categorical import BasicContingencyManager
    from scores.spatial import fss_2d_binary

    parts: list[xr.Dataset] = []
    for limit in events.limits:
        forecast, truth = (exceed(values, pairs.paired, limit) for values in (pairs.forecast, pairs.truth))
        count = bound(xr.DataArray.sum, dim=_reduced(kept))
        counts = {
            "hits": count(forecast & truth),
            "misses": count(~forecast & truth),
            "false_alarms": count(forecast & ~truth),
            "correct_negatives": count(pairs.paired & ~forecast & ~truth),
        }
        table = BasicContingencyManager({COUNTS[name]: part.astype(float) for name, part in counts.items()})
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = {
                "csi": table.critical_success_index(),
                "pod": table.probability_of_detection(),
                "far": table.false_alarm_ratio(),
            }
        if shape is not None:
            fss = fss_2d_binary(forecast, truth, window_size=shape, spatial_dims=("y", "x"), preserve_dims=kept)
            # Without any event there is no skill to speak of, and scores gives 0.
            ratios["fss"] = fss.where(counts["hits"] + counts["misses"] + counts["false_alarms"] > 0)
        parts.append(xr.Dataset({**ratios, **counts}))
    if not parts:
        return {}
    joined = xr.concat(parts, dim="threshold").transpose(*kept, "threshold")
    return {str(name): part for name, part in joined.data_vars.items()}


def _labelled(
    data: xr.Dataset,
    fields: dict[str, xr.DataArray],
    configuration: Configuration,
    events: Events,
    side: float,
    units: str,
) -> xr.Dataset:
    describe = bound(attributes, variable=configuration.variable, units=units, kind=configuration.kind)
    result: dict[Hashable, Any] = {}
    for name, part in fields.items():
        row = name.replace("_by_window", "")
        attrs = describe(row)
        if name != row:
            attrs["long_name"] += ", in each window"
        values = part.values.astype("int64" if part.dtype.kind in "iu" else "float64")
        result[name] = (part.dims, values, attrs)
    coordinates: dict[Hashable, Any] = {"lead_time": _lead_times(data)}
    if "forecast_reference_time" in data.coords:
        reference = data["forecast_reference_time"]
        coordinates["forecast_reference_time"] = ("window", np.atleast_1d(reference.values), dict(reference.attrs))
    if events.limits:
        about = attributes("threshold", units=events.units, kind=configuration.kind)
        coordinates["threshold"] = ("threshold", np.array(events.thresholds), about)
    if "fss" in fields:
        coordinates["scale"] = ((), side, attributes("scale"))
    return xr.Dataset(result, coordinates, dict(data.attrs))


def _lead_times(data: xr.Dataset) -> tuple[str, NDArray[Any], dict[str, Any]]:
    """Lead times as durations; a file that was opened without decoding them gives numbers."""
    lead = data["lead_time"]
    values = np.atleast_1d(lead.values)
    if values.dtype.kind != "m":
        unit = {"seconds": "s", "minutes": "m", "hours": "h", "days": "D"}[str(lead.attrs.get("units", "seconds"))]
        values = values.astype("int64").astype(f"timedelta64[{unit}]")
    return "lead_time", values.astype("timedelta64[ns]"), attributes("lead_time")
