"""Scores of forecasts and ensembles by lead time."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bound
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import configuration_of
from xvar.analysis.verify.events import EACH_WINDOW, SCALE, Events, label_scores, make_events, parse_length, square
from xvar.analysis.verify.truth import Truth, true_frames
from xvar.cf.axes import Axes, find_axes
from xvar.cf.conventions import identity, to_cf
from xvar.cf.grid import horizontal_grid
from xvar.cf.metadata import attributes
from xvar.cf.times import date_text
from xvar.errors import Fault, Faults, InputError
from xvar.plan.configuration import Configuration

BY_WINDOW, POOLED = ("window", "lead_time"), ("lead_time",)
PLANE = ("y", "x")
#: Scores that are also given for each window.
ALSO_BY_WINDOW = ("crps", "crps_fair", "rmse", "bias", "spread", "brier", "number_of_pairs")
#: Means over the points of a window and lead time -> their dimensions beside these two.
MEANS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("crps", "crps_fair", "square", "bias", "variance", "mae_last"), ()),
    "rank": ("rank",),
    "brier": ("threshold",),
    "forecasts": ("threshold", "probability"),
    "hits": ("threshold", "probability"),
}


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
    fields = _ensemble_scores(given) if "member" in given.forecast.dims else _deterministic_scores(given)
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
        begin, end, first, last = map(date_text, (times.min(), times.max(), have[0], have[-1]))
        spans = f"forecasts from {begin} to {end}, truth from {first} to {last}"
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
        for own in ("rmse", "csi", "fss"):
            fields |= {name.replace(own, f"{own}_persistence"): scores[name] for name in scores if own in name}
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


def _ensemble_scores(given: Comparison) -> dict[str, xr.DataArray]:
    """Return the scores of an ensemble, see `xvar.analysis.verify.verify`.

    The means that scores are made of are taken in each window and lead time, and pooled by the number of their pairs.
    """
    sizes, limits = dict(given.forecast.sizes), given.events.limits
    sizes |= {"threshold": len(limits), "rank": sizes["member"] + 1, "probability": sizes["member"] + 1}
    shapes = {name: {dim: sizes[dim] for dim in ("window", "lead_time", *own)} for name, own in MEANS.items()}
    means = {name: xr.DataArray(np.full([*shape.values()], np.nan), dims=[*shape]) for name, shape in shapes.items()}
    pairs, ranked = (xr.zeros_like(means["crps"], dtype=np.int64) for _ in range(2))
    for window, lead, forecast, truth, last in _cases(given):
        pairs[window, lead] = truth.size
        differ = (forecast != truth).any(axis=0)
        ranked[window, lead] = differ.sum()
        for name, value in _means(forecast, truth, last, limits, differ).items():
            means[name][window, lead] = value
    pooled = {name: _pooled(part, ranked if name == "rank" else pairs) for name, part in means.items()}
    fields = _from_means(pooled, pairs.sum("window"), sizes["member"])
    by_window = _from_means(means, pairs, sizes["member"])
    fields |= {f"{name}{EACH_WINDOW}": by_window[name] for name in ALSO_BY_WINDOW}
    if given.persistence is None:
        del fields["crps_skill"]
    return {name: part for name, part in fields.items() if limits or "threshold" not in part.dims}


def _pooled(mean: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the mean over windows, weighted by their pairs."""
    weighted = (mean * weights).where(weights > 0, 0).transpose(*mean.dims)
    return weighted.sum("window", skipna=False) / weights.sum("window")


def _cases(given: Comparison) -> Iterator[tuple[int, int, NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Yield window, lead, forecast (member, point), truth and last frame (point,) of the points that have a pair."""
    last = given.persistence
    for window, lead in zip(*np.nonzero(~given.without_truth), strict=True):
        forecast = np.asarray(given.forecast[int(window), :, int(lead)].values, dtype=np.float64)
        truth = given.known.at(given.times[window, lead : lead + 1])[0]
        valid = np.isfinite(truth) & np.isfinite(forecast).all(axis=0)
        if valid.any():
            before = np.full(truth.shape, np.nan) if last is None else last[window]
            yield int(window), int(lead), forecast[:, valid], truth[valid], before[valid]


def _means(
    forecast: NDArray[Any], truth: NDArray[Any], last: NDArray[Any], limits: tuple[float, ...], differ: NDArray[Any]
) -> dict[str, NDArray[Any] | float]:
    """Return means over the points of one window and lead time."""
    from scores.probability import brier_score_for_ensemble, crps_for_ensemble, rank_histogram

    members, seen = xr.DataArray(forecast, dims=("member", "point")), xr.DataArray(truth, dims="point")
    means: dict[str, NDArray[Any] | float] = {
        "crps": float(crps_for_ensemble(members, seen, "member", method="ecdf")),
        "crps_fair": float(crps_for_ensemble(members, seen, "member", method="fair")),
        "square": float(((forecast.mean(axis=0) - truth) ** 2).mean()),
        "bias": float((forecast.mean(axis=0) - truth).mean()),
        "variance": float(forecast.var(axis=0, ddof=1).mean()),
        "mae_last": float(np.abs(last - truth).mean()),
    }
    if differ.any():
        # A point at which truth and all members are equal, as without rain, has every rank.
        means["rank"] = rank_histogram(members[:, differ], seen[differ], "member").values
    if limits:
        brier = brier_score_for_ensemble(members, seen, "member", list(limits), fair_correction=False)
        means["brier"] = brier.values
        count, bins = truth.size, len(forecast) + 1
        above = [((forecast >= limit).sum(axis=0), truth >= limit) for limit in limits]
        means["forecasts"] = np.stack([np.bincount(number, minlength=bins) for number, _ in above]) / count
        means["hits"] = np.stack([np.bincount(number[event], minlength=bins) for number, event in above]) / count
    return means


def _from_means(means: Mapping[str, Any], pairs: xr.DataArray, members: int) -> dict[str, xr.DataArray]:
    """Return scores from means, pooled or of each window."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rmse = np.sqrt(means["square"])
        spread = np.sqrt((members + 1) / members * means["variance"])
        forecasts, hits = means["forecasts"], means["hits"]
        rate = hits.sum("probability", skipna=False)
        return {
            "crps": means["crps"],
            "crps_fair": means["crps_fair"],
            "crps_skill": 1 - means["crps"] / means["mae_last"],
            "rmse": rmse,
            "bias": means["bias"],
            "spread": spread,
            "spread_over_error": spread / rmse,
            "rank_histogram": means["rank"],
            "reliability_index": np.abs(means["rank"] - 1 / (members + 1)).sum("rank", skipna=False),
            "brier": means["brier"],
            "brier_skill": 1 - means["brier"] / (rate * (1 - rate)),
            "roc_area": _roc_area(forecasts - hits, hits),
            "observed_frequency": hits / forecasts,
            "forecast_frequency": forecasts,
            "number_of_pairs": pairs,
        }


def _roc_area(false: xr.DataArray, hits: xr.DataArray) -> xr.DataArray:
    """Return the area under the ROC curve from frequencies (..., probability) of non-events and events."""
    below = false.cumsum("probability", skipna=False) - false / 2  # with half of the ties
    area, events, others = (part.sum("probability", skipna=False) for part in (hits * below, hits, false))
    return area / (events * others)


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
