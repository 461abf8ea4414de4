"""A nowcast: analysis, forecast and probabilities from the end of a record, with the skill of the forecasts before."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import xarray as xr

from xvar.analysis.forecast import forecast
from xvar.analysis.forecast_options import Kind
from xvar.analysis.probability import probability
from xvar.analysis.verify import THRESHOLDS, verify
from xvar.assimilation import assimilate
from xvar.cf.conventions import to_cf
from xvar.cf.metadata import attributes
from xvar.errors import Faults, refuse_unknown
from xvar.plan.configuration import ATTRIBUTE, Configuration
from xvar.service.windows import Frames, count_frames

#: Options of `assimilate` that a single window has no use for.
OF_MANY_WINDOWS = ("stride", "partial", "sort", "batch")
#: Scores of earlier forecasts that a nowcast holds.
RECENT = ("rmse", "rmse_persistence", "bias", "csi", "csi_persistence")


def nowcast(
    data: xr.Dataset | xr.DataArray,
    lead: Any = "60min",
    variable: Hashable | None = None,
    *,
    every: Any = None,
    kind: Kind = "sharp",
    members: int | None = None,
    seed: int | None = None,
    above: Sequence[float] | None = None,
    cadence: Any = None,
    hindcast: bool = True,
    **options: Any,
) -> xr.Dataset:
    r"""Analyse the last window of a record, and forecast from it.

    Frames that are missing in the window are frames without values, which a note in the output counts; with
    ``gaps="split"`` frames before a missing one have none either. Frames before the window show the skill: a forecast
    from an earlier window, as early as the record and `lead` allow, is compared with the frames that came.

    Parameters
    ----------
    data : Dataset or DataArray
        The record, (time, y, x) in any order of dimensions and times, lazy or not; only its last frames are read.
    lead : duration
        Lead time of the last forecast, as for `xvar.analysis.forecast.forecast`.
    variable : hashable, optional
        Name of the variable, if there are several.
    every : duration, optional
        Time between forecasts. Default: that between frames.
    kind : {"sharp", "mean"}
        Kind of the forecast.
    members : int, optional
        Members of an ensemble, whose probabilities are added; the members are not kept.
    seed : int, optional
        Seed of the ensemble, 0 by default.
    above : sequence of float, optional
        Thresholds of the probabilities and of the scores of events: in mm h-1 for rain, 0.5, 1 and 5 by default, else
        in the units of the variable.
    cadence : duration, optional
        Time between frames. Default: the most common step of the record, of several the least.
    hindcast : bool
        Compare a forecast from an earlier window, which is solved too.
    **options
        Options of `assimilate`, for one window.

    Returns
    -------
    Dataset
        The forecast (window, lead_time, y, x) with its coordinates, and from the analysis the motion at the end of the
        window ``u``, ``v`` (window, y, x) and its parts, the last frame ``<name>_observed``, J, ``status``, and the
        times of the frames ``frame_time`` (window, step) with ``observed_share``, the share of the points with a value.
        With `members` also ``probability_of_<name>_above_threshold`` (threshold, window, lead_time, y, x); with a
        hindcast ``recent_rmse``, ``recent_csi`` and so on by lead time, NaN where nothing is known, and
        ``recent_reference_time``, the end of its window.

    Raises
    ------
    InputError
        As `assimilate`, `forecast` and `probability` do.

    Examples
    --------
    >>> import xvar
    >>> nowcast = xvar.nowcast(xvar.datasets.sample(), "15min")
    >>> dict(nowcast["rain"].sizes)
    {'window': 1, 'lead_time': 3, 'y': 128, 'x': 128}
    >>> bool(nowcast["recent_rmse"][0] < nowcast["recent_rmse_persistence"][0])
    True
    """
    known = [name for name in inspect.signature(assimilate).parameters if name not in ("data", *OF_MANY_WINDOWS)]
    refuse_unknown(options, known, "nowcast()")
    faults = Faults()
    frames = faults.require(Frames.read(data, variable, cadence, faults))
    count = count_frames(options.get("window"), frames.cadence, faults)
    faults.raise_if_any()
    end = len(frames.times) - 1
    if "window" not in options:
        count = min(count, end + 1)
    how: dict[str, Any] = {"every": every, "kind": kind}
    thresholds = THRESHOLDS if above is None else tuple(above)
    parts = parts_of_nowcast(frames, count, lead, options, thresholds, members=members, seed=seed, **how)
    first = max(end - parts[0].sizes["lead_time"], count - 1)
    if hindcast and first < end:
        own = {name: value for name, value in options.items() if name != "first_guess"}
        before = forecast(_analysed(frames, first, count, own), lead, **how)
        came = frames.dataset.isel({frames.dim: slice(first, None)})
        parts.append(recent(verify(before, came, thresholds=thresholds)))
    return joined(parts, frames)


def parts_of_nowcast(
    frames: Frames,
    count: int,
    lead: Any,
    options: dict[str, Any],
    thresholds: Sequence[float],
    *,
    members: int | None = None,
    seed: int | None = None,
    **how: Any,
) -> list[xr.Dataset]:
    """Return the forecast from the last `count` frames, what a nowcast holds of the analysis, and probabilities."""
    analysis = _analysed(frames, len(frames.times) - 1, count, options)
    parts = [forecast(analysis, lead, **how), _of_analysis(analysis, frames.name)]
    if members is not None:
        how.pop("kind", None)
        parts.append(probability(forecast(analysis, lead, members=members, seed=seed, **how), thresholds))
    return parts


def joined(parts: Sequence[xr.Dataset], frames: Frames) -> xr.Dataset:
    """Return the parts of a nowcast, of which the first is its forecast, as one Dataset."""
    result = xr.merge(parts, compat="override", join="exact", combine_attrs="override")
    return to_cf(result, frames.dataset, action=f'nowcast("{frames.name}")')


def _analysed(frames: Frames, end: int, count: int, options: dict[str, Any]) -> xr.Dataset:
    """Return the analysis of the window that ends at a frame, with the share of points that each frame observed."""
    record = frames.window(end, count, split=options.get("gaps") == "split")
    images = record[frames.name].compute()
    analysis = assimilate(record.assign({frames.name: images}), frames.name, **{**options, "window": count})
    share = images.notnull().mean([dim for dim in images.dims if dim != frames.dim])
    analysis["observed_share"] = (("window", "step"), share.values[None], attributes("observed_share"))
    empty = int((share == 0).sum())
    if empty:
        configuration = Configuration.from_json(analysis.attrs[ATTRIBUTE])
        notes = (*configuration.notes, f"{empty} of {count} frames of the window have no values")
        analysis.attrs[ATTRIBUTE] = replace(configuration, notes=notes).to_json()
    return analysis


def _of_analysis(analysis: xr.Dataset, name: Hashable) -> xr.Dataset:
    """Return what a nowcast holds of an analysis: its end, and the times of its frames."""
    times = attributes("frame_time") | {key: part for key, part in analysis["time"].attrs.items() if "name" not in key}
    moments = analysis["time"].values
    rest = analysis.drop_vars([name, "time"])
    steps = [key for key, part in rest.data_vars.items() if "step" in part.dims and key != "observed_share"]
    result = rest.assign({key: rest[key].isel(step=-1) for key in steps})
    return result.assign_coords(frame_time=(("window", "step"), moments, times))


def recent(scores: xr.Dataset) -> xr.Dataset:
    """Return the scores of earlier forecasts under the names that they have in a nowcast."""
    found = {f"recent_{name}": scores[name].drop_vars("scale", errors="ignore") for name in RECENT if name in scores}
    for part in found.values():
        part.attrs["long_name"] += ", of earlier forecasts"
    result = xr.Dataset(found)
    if scores.sizes.get("window") == 1:
        reference = scores["forecast_reference_time"]
        moment = (reference.dims, reference.values, attributes("recent_reference_time"))
        result = result.assign_coords(recent_reference_time=moment)
    return result
