"""Motion as arrows and forecasts as areas, in GeoJSON."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.exported import Exported, Of, text_of
from xvar.analysis.outputs import SHOWN, Part
from xvar.analysis.verify.events import THRESHOLDS, make_events
from xvar.cf.times import parse_duration
from xvar.errors import Faults, require

EARTH = 6371e3  # metres
DIGITS = 5  # of degrees: a metre


def to_geojson(
    data: xr.Dataset,
    of: Of | None = None,
    *,
    every: int | None = None,
    reach: Any = None,
    above: Sequence[float] | None = None,
    part: Part = SHOWN,
    window: int = -1,
) -> dict[str, Any]:
    r"""Return the motion as arrows, or a forecast as areas, as GeoJSON (RFC 7946).

    An arrow is a line from a point to where the motion carries it in the time `reach`, with its ``speed`` in m s-1 and
    ``direction`` towards which it goes, in degrees clockwise from north. An area holds the points at or above a
    threshold at a lead time, bounded by the contour line, with its ``threshold``, ``lead_minutes`` and valid ``time``.

    Parameters
    ----------
    data : Dataset
        An analysis, a forecast without members, or a nowcast.
    of : {"motion", "forecast"}, optional
        Default: the forecast, if there is one.
    every : int, optional
        Points from one arrow to the next. Default: 40 arrows along the longer side.
    reach : duration, optional
        Default: the time between frames.
    above : sequence of float, optional
        Thresholds, in mm h-1 for rain (default 0.5, 1 and 5), else in the units of the variable.
    part : {"steady", "total"}
        Part of the motion, as in `xvar.plot.maps.motion`.
    window : int
        Which window; default: the last.

    Returns
    -------
    dict
        A FeatureCollection in longitude and latitude; ``json.dumps`` writes it.

    Raises
    ------
    InputError
        If `data` is no such output, its positions are unknown, or areas are wanted without the package contourpy.
    """
    faults = Faults()
    exported = Exported.read(data, of, window, part)
    seconds = exported.configuration.frame if reach is None else parse_duration(reach, "reach", faults)
    faults.raise_if_any()
    if exported.of == "motion":
        features = _arrows(exported, every, seconds or 0.0)
    else:
        features = _areas(exported, THRESHOLDS if above is None else tuple(above))
    return {"type": "FeatureCollection", "features": features}


def _arrows(exported: Exported, every: int | None, seconds: float) -> list[dict[str, Any]]:
    kept = exported.kept(every)
    fields = {name: field[kept].ravel() for name, field in exported.motion().items()}
    latitude, longitude = exported.latitude[kept].ravel(), exported.longitude[kept].ravel()
    across = np.degrees(fields["eastward"] * seconds / EARTH) / np.maximum(np.cos(np.radians(latitude)), 1e-6)
    along = np.degrees(fields["northward"] * seconds / EARTH)
    lines = np.stack([longitude, latitude, longitude + across, latitude + along], axis=1).reshape(-1, 2, 2)
    features = []
    for index in np.flatnonzero(np.isfinite(fields["speed"])):
        about = {
            "speed": round(float(fields["speed"][index]), 3),
            "direction": round(float(fields["direction"][index]), 1),
            "time": exported.moment,
        }
        features.append(_feature("LineString", np.round(lines[index], DIGITS).tolist(), about))
    return features


def _areas(exported: Exported, thresholds: Sequence[float]) -> list[dict[str, Any]]:
    faults = Faults()
    variable = exported.variable
    units = str(variable.attrs.get("units", "1"))
    events = make_events(thresholds, units, exported.configuration, faults)
    faults.raise_if_any()
    contourpy = require("contourpy", "plot", "areas of a forecast")
    features = []
    lowest = min(events.limits, default=0.0)
    nothing = lowest - abs(lowest) - 1.0
    for lead in range(variable.sizes["lead_time"]):
        at = exported.data.isel(lead_time=lead)
        field = at[exported.configuration.variable].transpose(*exported.plane).values.astype(float)
        field = np.pad(np.nan_to_num(field, nan=nothing), 1, constant_values=nothing)  # areas close at the edge
        lines = contourpy.contour_generator(z=field, fill_type=contourpy.FillType.OuterOffset)
        for threshold, limit in zip(events.thresholds, events.limits, strict=True):
            polygons = [
                [_ring(exported, points[begin:end]) for begin, end in pairwise(offsets)]
                for points, offsets in zip(*lines.filled(limit, max(limit, field.max()) + 1.0), strict=True)
            ]
            about = {
                "threshold": threshold,
                "units": events.units,
                "lead_minutes": float(at["lead_time"].values / np.timedelta64(60, "s")),
                "time": text_of(at["time"].values),
            }
            if polygons:
                features.append(_feature("MultiPolygon", polygons, about))
    return features


def _ring(exported: Exported, points: NDArray[np.float64]) -> list[list[float]]:
    """Return a closed line in longitude and latitude of one in columns and rows, that begin beyond the edge."""
    shape = exported.latitude.shape
    columns, rows = (np.clip(points[:, axis] - 1, 0, size - 1) for axis, size in ((0, shape[1]), (1, shape[0])))
    low = [np.minimum(part.astype(int), size - 2) for part, size in ((rows, shape[0]), (columns, shape[1]))]
    down, right = rows - low[0], columns - low[1]
    found = []
    for part in exported.places:
        corner, below, beside, across = (part[low[0] + dy, low[1] + dx] for dy, dx in ((0, 0), (1, 0), (0, 1), (1, 1)))
        found.append((corner * (1 - down) + below * down) * (1 - right) + (beside * (1 - down) + across * down) * right)
    return [[round(float(x), DIGITS), round(float(y), DIGITS)] for x, y in zip(*found, strict=True)]


def _feature(kind: str, coordinates: Any, about: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": about}
