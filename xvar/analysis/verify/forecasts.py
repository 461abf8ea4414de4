"""Scores of forecasts by lead time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bound
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import configuration_of
from xvar.analysis.verify.ensembles import ensemble_scores
from xvar.analysis.verify.events import EACH_WINDOW, SCALE, Events, label_scores, make_events, parse_length, square
from xvar.analysis.verify.truth import Truth, true_frames
from xvar.cf.axes import Axes, find_axes
from xvar.cf.conventions import identity, to_cf
from xvar.cf.grid import horizontal_grid
from xvar.cf.metadata import attributes
from xvar.errors import Fault, Faults, InputError
from xvar.plan.configuration import Configuration

BY_WINDOW, POOLED = ("window", "lead_time"), ("lead_time",)
PLANE = ("y", "x")


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
    configuration = configuration_of(data, "{variable}", output="forecast")
    faults = Faults()
    forecast, times, reference = _arranged(data, configuration.variable)
    frame = {dim: 0 for dim in forecast.dims if dim in ("member", *BY_WINDOW)}
    axes = faults.require(find_axes(forecast.isel(frame, drop=True).expand_dims("time"), faults))
    units = str(forecast.attrs.get("units", "1"))
    events = make_events(thresholds, units, configuration, faults)
    plane = forecast.isel({"member": 0}, drop=True, missing_dims="ignore").transpose(*BY_WINDOW, axes.y, axes.x)
    side = parse_length(scale, "scale", faults)
    squares, notes = None, [events.note] if events.note else []
    if events.limits and "member" not in forecast.dims:
        stand_in = Axes(time="window", y=axes.y, x=axes.x)
        grid = horizontal_grid(plane, stand_in, faults, configuration.dx, configuration.dy, mapping=data)
        if grid is not None and np.isfinite(side):
            squares = square(side, grid, faults, stated=scale != SCALE)
            if squares is None:
                notes.append(f"no fss: squares of {SCALE} do not fit into the grid, scale= states others")
    known = faults.require(true_frames(truth, configuration, plane, axes, faults, configuration.interval))
    if (known.indices(times) < 0).all():
        have = sorted(known.frame)
        spans = f"forecasts from {times.min()} to {times.max()}, truth from {have[0]} to {have[-1]}"
        found, fix = f"no forecast time in the truth: {spans}", "a longer truth, or forecasts at its times by every="
        expected = "a truth at one forecast time at least; nothing is interpolated"
        raise InputError(Fault(found, expected, fix, dimension="time", code="no-common-time"))
    forecast = forecast.transpose("window", "member", "lead_time", axes.y, axes.x, missing_dims="ignore")
    return Comparison(configuration, forecast, times, reference, known, events, squares, side, units, notes)


def _deterministic_scores(given: Comparison) -> dict[str, xr.DataArray]:
    """Return the scores of a forecast without members."""
    values = np.full(given.forecast.shape, np.nan)
    for window, lead in zip(*np.nonzero(~given.without_truth), strict=True):
        values[window, lead] = given.forecast[int(window), int(lead)].values
    observed = given.known.at(given.times)
    fields = _scores(values, observed, given)
    last = given.persistence
    if last is not None:
        scores = _scores(np.broadcast_to(last[:, None], observed.shape), observed, given)
        for name in ("rmse", "csi", "fss"):
            for suffix in ("", EACH_WINDOW):
                if f"{name}{suffix}" in scores:
                    fields[f"{name}_persistence{suffix}"] = scores[f"{name}{suffix}"]
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


def _scores(forecast: NDArray[Any], truth: NDArray[Any], given: Comparison) -> dict[str, xr.DataArray]:
    """Return scores of forecasts and truths (window, lead_time, y, x), pooled and by window."""
    paired = np.isfinite(forecast) & np.isfinite(truth)
    predicted, seen = (
        xr.DataArray(np.where(paired, part, np.nan), dims=(*BY_WINDOW, *PLANE)) for part in (forecast, truth)
    )
    fields: dict[str, xr.DataArray] = {}
    for suffix, kept in (("", POOLED), (EACH_WINDOW, BY_WINDOW)):
        found = _continuous(predicted, seen, kept)
        if given.events.limits:
            found |= _categorical(predicted, seen, kept, given)
        fields |= {f"{name}{suffix}": part for name, part in found.items()}
    return fields


def _continuous(forecast: xr.DataArray, truth: xr.DataArray, kept: tuple[str, ...]) -> dict[str, xr.DataArray]:
    from scores import continuous

    calls = {
        "rmse": continuous.rmse,
        "bias": continuous.additive_bias,
        "mae": continuous.mae,
        "correlation": continuous.correlation.pearsonr,
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        fields = {name: call(forecast, truth, preserve_dims=kept) for name, call in calls.items()}
    fields["number_of_pairs"] = truth.notnull().sum([dim for dim in truth.dims if dim not in kept])
    return fields


def _categorical(
    forecast: xr.DataArray, truth: xr.DataArray, kept: tuple[str, ...], given: Comparison
) -> dict[str, xr.DataArray]:
    from scores.categorical import BasicContingencyManager
    from scores.spatial import fss_2d_binary

    limits = xr.DataArray(list(given.events.limits), dims="threshold")
    predicted, seen, dims = forecast >= limits, truth >= limits, (*kept, "threshold")
    cells = {
        "hits": predicted & seen,
        "misses": ~predicted & seen,
        "false_alarms": predicted & ~seen,
        "correct_negatives": truth.notnull() & ~predicted & ~seen,
    }
    counts = {name: cell.sum([dim for dim in cell.dims if dim not in dims]) for name, cell in cells.items()}
    hits, misses, false_alarms, negatives = (part.astype(float) for part in counts.values())
    table = BasicContingencyManager(
        {"tp_count": hits, "fn_count": misses, "fp_count": false_alarms, "tn_count": negatives}
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = {
            "csi": table.critical_success_index(),
            "pod": table.probability_of_detection(),
            "far": table.false_alarm_ratio(),
        }
    if given.squares is not None:
        fss = fss_2d_binary(predicted, seen, window_size=given.squares, spatial_dims=PLANE, preserve_dims=dims)
        # Without any event the score is undefined; `scores` returns 0.
        ratios["fss"] = fss.where(hits + misses + false_alarms > 0)
    return {name: part.transpose(*dims) for name, part in {**ratios, **counts}.items()}


def _labelled(data: xr.Dataset, fields: Mapping[str, xr.DataArray], given: Comparison) -> xr.Dataset:
    """Name and describe the scores."""
    kind, events = given.configuration.kind, given.events
    describe = bound(attributes, variable=given.configuration.variable, units=given.units, kind=kind)
    coordinates: dict[Hashable, Any] = {"lead_time": _lead_times(data)}
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
    return label_scores(data, fields, coordinates, describe)


def _lead_times(data: xr.Dataset) -> tuple[str, NDArray[Any], dict[str, Any]]:
    """Return lead times as durations, also of a file that was opened without decoding them."""
    lead = data["lead_time"]
    values = np.atleast_1d(lead.values)
    if values.dtype.kind != "m":
        unit = {"seconds": "s", "minutes": "m", "hours": "h", "days": "D"}[str(lead.attrs.get("units", "seconds"))]
        values = values.astype("int64").astype(f"timedelta64[{unit}]")
    return "lead_time", values.astype("timedelta64[ns]"), attributes("lead_time")
