"""Scores of ensembles by lead time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.verify.events import EACH_WINDOW

if TYPE_CHECKING:
    from xvar.analysis.verify.forecasts import Comparison

Array = NDArray[Any]

#: Scores that are also given for each window.
BY_WINDOW = ("crps", "crps_fair", "rmse", "bias", "spread", "brier", "number_of_pairs")
#: Means over the points of a window and lead time -> their dimensions beside these two.
MEANS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("crps", "crps_fair", "square", "bias", "variance", "mae_last"), ()),
    "rank": ("rank",),
    "brier": ("threshold",),
    "forecasts": ("threshold", "probability"),
    "hits": ("threshold", "probability"),
}


def ensemble_scores(given: Comparison) -> dict[str, xr.DataArray]:
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
    fields = _scores(pooled, pairs.sum("window"), sizes["member"])
    by_window = _scores(means, pairs, sizes["member"])
    fields |= {f"{name}{EACH_WINDOW}": by_window[name] for name in BY_WINDOW}
    if given.persistence is None:
        del fields["crps_skill"]
    return {name: part for name, part in fields.items() if limits or "threshold" not in part.dims}


def _pooled(mean: xr.DataArray, weights: xr.DataArray) -> xr.DataArray:
    """Return the mean over windows, weighted by their pairs."""
    weighted = (mean * weights).where(weights > 0, 0).transpose(*mean.dims)
    return weighted.sum("window", skipna=False) / weights.sum("window")


def _cases(given: Comparison) -> Iterator[tuple[int, int, Array, Array, Array]]:
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
    forecast: Array, truth: Array, last: Array, limits: tuple[float, ...], differ: Array
) -> dict[str, Array | float]:
    """Return means over the points of one window and lead time."""
    from scores.probability import brier_score_for_ensemble, crps_for_ensemble, rank_histogram

    members, seen = xr.DataArray(forecast, dims=("member", "point")), xr.DataArray(truth, dims="point")
    means: dict[str, Array | float] = {
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


def _scores(means: Mapping[str, Any], pairs: xr.DataArray, members: int) -> dict[str, xr.DataArray]:
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
