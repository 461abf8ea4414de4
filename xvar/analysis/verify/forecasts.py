"""Scores of forecasts by lead time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bound
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import configuration_of
from xvar.analysis.verify.ensembles import ensemble_scores
from xvar.analysis.verify.events import SCALE, Events, exceed, make_events, parse_length, refuse_scale, square
from xvar.analysis.verify.truth import Truth, find_truth, read_truth
from xvar.cf.axes import Axes, find_axes
from xvar.cf.conventions import identity, to_cf
from xvar.cf.grid import horizontal_grid
from xvar.cf.metadata import attributes
from xvar.errors import Faults
from xvar.plan.configuration import Configuration

BY_WINDOW, POOLED = ("window", "lead_time"), ("lead_time",)
COUNTS = {"hits": "tp_count", "misses": "fn_count", "false_alarms": "fp_count", "correct_negatives": "tn_count"}


@dataclass(frozen=True)
class Pairs:
    """Forecasts and truths (window, lead_time, y, x) in float64, NaN in both unless `paired`."""

    forecast: xr.DataArray
    truth: xr.DataArray
    paired: xr.DataArray

    @classmethod
    def of(cls, forecast: NDArray[Any], truth: NDArray[Any]) -> Pairs:
        """Return the pairs of two arrays of the same shape."""
        paired = np.isfinite(forecast) & np.isfinite(truth)
        dims = (*BY_WINDOW, "y", "x")
        kept, true = (xr.DataArray(np.where(paired, part, np.nan), dims=dims) for part in (forecast, truth))
        return cls(kept, true, xr.DataArray(paired, dims=dims))


@dataclass(frozen=True)
class Comparison:
    """A forecast (window, [member,] lead_time, y, x) and its truth, read and checked.

    `times` (window, lead_time) are valid times, `reference` (window,) the ends of the windows. The squares of the FSS
    have `squares` rows and columns and a `side` in metres. `notes` list the scores that are left out, with reasons.
    """

    configuration: Configuration
    forecast: xr.DataArray
    times: NDArray[Any]
    reference: NDArray[Any] | None
    known: Truth
    events: Events
    squares: tuple[int, int] | None
    side: float
    units: str
    notes: list[str]

    @property
    def without_truth(self) -> NDArray[np.bool_]:
        """Times (window, lead_time) that the truth lacks."""
        return self.known.indices(self.times) < 0

    @property
    def persistence(self) -> NDArray[np.float64] | None:
        """The last frame (window, y, x); None if the truth lacks it."""
        if self.reference is None or not (self.known.indices(self.reference) >= 0).any():
            return None
        return self.known.at(self.reference)


def verify_forecast(
    data: xr.Dataset, truth: xr.Dataset | xr.DataArray, thresholds: Sequence[float], scale: float | str
) -> xr.Dataset:
    """Return the scores of a forecast, see `xvar.analysis.verify.verify`."""
    given = _read(data, truth, thresholds, scale)
    fields = ensemble_scores(given) if "member" in given.forecast.dims else _deterministic_scores(given)
    fields["number_without_truth"] = xr.DataArray(given.without_truth.sum(axis=0), dims=POOLED)
    scored = _labelled(data, fields, given)
    if given.notes:
        scored.attrs["comment"] = "; ".join(given.notes)
    source = truth if isinstance(truth, xr.Dataset) else truth.to_dataset(name="truth")
    return to_cf(scored, data, action=f'verify("{given.configuration.variable}") against {identity(source)}')


def _read(
    data: xr.Dataset, truth: xr.Dataset | xr.DataArray, thresholds: Sequence[float], scale: float | str
) -> Comparison:
    """Read a forecast and its truth; raise InputError with all that does not fit."""
    configuration = configuration_of(data, output="forecast")
    configuration_of(data, configuration.variable, output="forecast")
    faults = Faults()
    forecast, times, reference = _arranged(data, configuration.variable)
    frame = {dim: 0 for dim in forecast.dims if dim in ("member", *BY_WINDOW)}
    axes = find_axes(forecast.isel(frame, drop=True).expand_dims("time"), faults)
    faults.raise_if_any()
    assert axes is not None
    units = str(forecast.attrs.get("units", "1"))
    events = make_events(thresholds, units, configuration, faults)
    plane = forecast.isel({"member": 0}, drop=True, missing_dims="ignore").transpose(*BY_WINDOW, axes.y, axes.x)
    side = parse_length(scale, "scale", faults)
    squares, notes = None, [events.note] if events.note else []
    if events.limits and "member" not in forecast.dims:
        stand_in = Axes(time="window", y=axes.y, x=axes.x)
        grid = horizontal_grid(plane, stand_in, faults, configuration.dx, configuration.dy, mapping=data)
        if grid is not None and np.isfinite(side):
            squares = square(side, grid)
            if squares is None and scale != SCALE:
                refuse_scale(side, grid, faults)
            elif squares is None:
                notes.append(f"no fss: squares of {SCALE} do not fit into the grid, scale= states others")
    variable = find_truth(truth, configuration.variable, configuration.kind, faults)
    known = None
    if variable is not None:
        known = read_truth(variable, plane, axes, units, faults, frame=configuration.interval)
    faults.raise_if_any()
    assert known is not None
    if (known.indices(times) < 0).all():
        _refuse_times(times, list(known.frame), faults)
    forecast = forecast.transpose("window", "member", "lead_time", axes.y, axes.x, missing_dims="ignore")
    return Comparison(configuration, forecast, times, reference, known, events, squares, side, units, notes)


def _deterministic_scores(given: Comparison) -> dict[str, xr.DataArray]:
    """Return the scores of a forecast without members."""
    values = np.full(given.forecast.shape, np.nan)
    for window, lead in zip(*np.nonzero(~given.without_truth), strict=True):
        values[window, lead] = given.forecast[int(window), int(lead)].values
    observed = given.known.at(given.times)
    fields = _scores(Pairs.of(values, observed), given.events, given.squares)
    last = given.persistence
    if last is not None:
        pairs = Pairs.of(np.broadcast_to(last[:, None], observed.shape), observed)
        fields |= _scores(pairs, given.events, given.squares, of="_persistence", only=("rmse", "csi", "fss"))
    return fields


def _arranged(data: xr.Dataset, name: str) -> tuple[xr.DataArray, NDArray[Any], NDArray[Any] | None]:
    """Return the forecast with window and lead time, also if one was selected, valid times and reference times."""
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
        code="no-common-time",
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
    """Return scores of pairs, pooled and by window, their names with the suffix `of`; all, or `only` some."""
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
            # Without any event the score is undefined; `scores` returns 0.
            ratios["fss"] = fss.where(counts["hits"] + counts["misses"] + counts["false_alarms"] > 0)
        parts.append(xr.Dataset({**ratios, **counts}))
    if not parts:
        return {}
    joined = xr.concat(parts, dim="threshold").transpose(*kept, "threshold")
    return {str(name): part for name, part in joined.data_vars.items()}


def _labelled(data: xr.Dataset, fields: Mapping[str, xr.DataArray], given: Comparison) -> xr.Dataset:
    """Name and describe the scores."""
    kind, events = given.configuration.kind, given.events
    describe = bound(attributes, variable=given.configuration.variable, units=given.units, kind=kind)
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
        about = attributes("threshold", units=events.units, kind=kind)
        coordinates["threshold"] = ("threshold", np.array(events.thresholds), about)
    if "fss" in fields:
        coordinates["scale"] = ((), given.side, attributes("scale"))
    if "rank_histogram" in fields:
        members = given.forecast.sizes["member"]
        coordinates["rank"] = ("rank", np.arange(1, members + 2, dtype="int32"), attributes("rank"))
        probability = ("probability", np.arange(members + 1) / members, attributes("probability"))
        coordinates |= {"probability": probability} if events.limits else {}
    return xr.Dataset(result, coordinates, dict(data.attrs))


def _lead_times(data: xr.Dataset) -> tuple[str, NDArray[Any], dict[str, Any]]:
    """Return lead times as durations, also of a file that was opened without decoding them."""
    lead = data["lead_time"]
    values = np.atleast_1d(lead.values)
    if values.dtype.kind != "m":
        unit = {"seconds": "s", "minutes": "m", "hours": "h", "days": "D"}[str(lead.attrs.get("units", "seconds"))]
        values = values.astype("int64").astype(f"timedelta64[{unit}]")
    return "lead_time", values.astype("timedelta64[ns]"), attributes("lead_time")
