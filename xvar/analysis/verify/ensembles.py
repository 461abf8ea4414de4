"""Scores of ensembles by lead time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

if TYPE_CHECKING:
    from xvar.analysis.verify.forecasts import Comparison

Array = NDArray[Any]

#: Scores that are also given for each window.
BY_WINDOW = ("crps", "crps_fair", "rmse", "bias", "spread", "brier", "number_of_pairs")


def ensemble_scores(given: Comparison) -> dict[str, xr.DataArray]:
    """Return the scores of an ensemble, see `xvar.analysis.verify.verify`.

    The means that scores are made of are taken in each window and lead time, and pooled by the number of their pairs.
    """
    windows, members, leads = (given.forecast.sizes[dim] for dim in ("window", "member", "lead_time"))
    limits = given.events.limits
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(
        ("crps", "crps_fair", "square", "bias", "variance", "mae_last"), ()
    )
    shapes |= {"rank": (members + 1,), "brier": (len(limits),), "forecasts": (len(limits), members + 1)}
    shapes |= {"hits": shapes["forecasts"]}
    means = {name: np.full((windows, leads, *shape), np.nan) for name, shape in shapes.items()}
    pairs, ranked = np.zeros((windows, leads), dtype=np.int64), np.zeros((windows, leads), dtype=np.int64)
    for window, lead, forecast, truth, last in _cases(given):
        pairs[window, lead] = truth.size
        differ = (forecast != truth).any(axis=0)
        ranked[window, lead] = differ.sum()
        for name, value in _means(forecast, truth, last, limits, differ).items():
            means[name][window, lead] = value
    fields = {}
    for suffix, pooled in (("", True), ("_by_window", False)):
        dims = ("lead_time",) if pooled else ("window", "lead_time")
        for name, (values, own) in _from_means(means, pairs, ranked, members, pooled=pooled).items():
            if (pooled or name in BY_WINDOW) and (limits or own[:1] != ("threshold",)):
                fields[f"{name}{suffix}"] = xr.DataArray(values, dims=(*dims, *own))
    if given.persistence is None:
        del fields["crps_skill"]
    return fields


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


def _from_means(
    means: dict[str, Array], pairs: Array, ranked: Array, members: int, *, pooled: bool
) -> dict[str, tuple[Array, tuple[str, ...]]]:
    """Return scores and their dimensions after lead time."""

    def mean(name: str) -> Array:
        if not pooled:
            return means[name]
        weights = ranked if name == "rank" else pairs
        weights = weights.reshape(weights.shape + (1,) * (means[name].ndim - 2))
        return np.asarray(np.where(weights > 0, means[name] * weights, 0).sum(axis=0) / weights.sum(axis=0))

    with np.errstate(invalid="ignore", divide="ignore"):
        rmse = np.sqrt(mean("square"))
        spread = np.sqrt((members + 1) / members * mean("variance"))
        rank, forecasts, hits = mean("rank"), mean("forecasts"), mean("hits")
        rate = hits.sum(axis=-1)
        return {
            "crps": (mean("crps"), ()),
            "crps_fair": (mean("crps_fair"), ()),
            "crps_skill": (1 - mean("crps") / mean("mae_last"), ()),
            "rmse": (rmse, ()),
            "bias": (mean("bias"), ()),
            "spread": (spread, ()),
            "spread_over_error": (spread / rmse, ()),
            "rank_histogram": (rank, ("rank",)),
            "reliability_index": (np.abs(rank - 1 / (members + 1)).sum(axis=-1), ()),
            "brier": (mean("brier"), ("threshold",)),
            "brier_skill": (1 - mean("brier") / (rate * (1 - rate)), ("threshold",)),
            "roc_area": (_roc_area(forecasts - hits, hits), ("threshold",)),
            "observed_frequency": (hits / forecasts, ("threshold", "probability")),
            "forecast_frequency": (forecasts, ("threshold", "probability")),
            "number_of_pairs": (pairs.sum(axis=0) if pooled else pairs, ()),
        }


def _roc_area(false: Array, hits: Array) -> Array:
    """Return the area under the ROC curve from frequencies (..., probability) of non-events and events."""
    below = np.cumsum(false, axis=-1) - false / 2  # with half of the ties
    return np.asarray((hits * below).sum(axis=-1) / (hits.sum(axis=-1) * false.sum(axis=-1)))
