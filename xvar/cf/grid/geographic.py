"""Grids of 1-D latitude and longitude."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes, in_memory
from xvar.cf.geodesy import EARTH_RADIUS, Floats
from xvar.cf.grid.base import HorizontalGrid, mean_spacing
from xvar.cf.grid.line import coordinate_line
from xvar.errors import Faults

#: Rows beyond this latitude have columns less than 2 % as wide as at the equator.
HIGHEST_LATITUDE = 89.0


def geographic_grid(
    y: xr.DataArray, x: xr.DataArray, axes: Axes, faults: Faults, *, rotated: bool
) -> HorizontalGrid | None:
    """Spacing on the sphere, R dlat and R cos(lat) dlon; of a rotated pole relative to the grid."""
    count = len(faults)
    latitudes = np.asarray(in_memory(y), dtype=np.float64)
    highest = float(np.nanmax(np.abs(latitudes))) if latitudes.size else 0.0
    if highest > 90 + 1e-6:
        index = int(np.nanargmax(np.abs(latitudes)))
        faults.add(
            code="latitude-out-of-range",
            variable=y.name,
            dimension=axes.y,
            index=index,
            found=f"latitude {latitudes[index]:g} at index {index}: |lat| > 90",
            expected="latitudes between -90 and 90",
            fix="latitude and longitude may be swapped: check which coordinate belongs to which dimension",
        )
    elif highest > HIGHEST_LATITUDE:
        faults.add(
            code="pole",
            variable=y.name,
            dimension=axes.y,
            found=f"rows at |lat| = {highest:g}",
            expected=f"|lat| <= {HIGHEST_LATITUDE:g}: columns of a latitude-longitude grid meet at the pole",
            fix=f"ds.where(abs(ds[{str(y.name)!r}]) <= {HIGHEST_LATITUDE:g}, drop=True), or a polar projection",
        )
    rows = coordinate_line(y, 1.0, faults)
    if _is_torn(x):
        low, high = (float(in_memory(x).min()), float(in_memory(x).max()))
        faults.add(
            code="longitude-wrapped",
            variable=x.name,
            dimension=axes.x,
            found=f"longitudes {low:g} to {high:g} in sorted order, with a gap of half the globe or more between "
            "two columns: an area across the meridian where they begin, sorted",
            expected="columns from west to east",
            fix=_turned(x),
        )
        return None
    columns = coordinate_line(_unwrapped(x), 1.0, faults)
    if rows is None or columns is None or len(faults) > count:
        return None
    extent = columns.step * columns.values.size
    if extent > 360 * (1 + 1e-6) and extent - 360 > 0.5 * columns.step:
        faults.add(
            code="longitude-repeated",
            variable=x.name,
            dimension=axes.x,
            found=f"longitudes over {columns.values[-1] - columns.values[0]:g} degrees: columns that repeat others",
            expected="each longitude once, less than 360 degrees from first to last",
            fix=f"ds.isel({axes.x}=slice(None, -1))",
        )
        return None
    periodic = columns.uniform and abs(extent - 360) < 0.5 * columns.step
    degree = np.deg2rad(1.0) * EARTH_RADIUS
    shape = (rows.values.size, columns.values.size)
    metric = np.stack(
        [
            np.broadcast_to((degree * rows.spacing)[:, None], shape),
            degree * np.cos(np.deg2rad(rows.values))[:, None] * columns.spacing[None, :],
        ]
    )
    name = "rotated latitude and longitude" if rotated else "latitude and longitude"
    return HorizontalGrid(
        shape,
        mean_spacing(metric),
        metric,
        (rows.ascending, columns.ascending),
        "curvilinear" if rotated else "geographic",
        periodic,
        f"from {name} on a sphere of {EARTH_RADIUS / 1e3:g} km" + (", columns around the globe" if periodic else ""),
    )


def _is_torn(longitude: xr.DataArray) -> bool:
    """Return True if sorting put the east of an area before its west: ordered, with a gap of half the globe."""
    steps = np.diff(np.asarray(in_memory(longitude), dtype=np.float64))
    return bool(steps.size > 1 and ((steps > 0).all() or (steps < 0).all()) and np.abs(steps).max() > 180)


def _turned(longitude: xr.DataArray) -> str:
    """Return the line that numbers the columns continuously across the meridian."""
    name, values = str(longitude.name), in_memory(longitude)
    other = f"(ds[{name!r}] + 180) % 360 - 180" if values.max() > 180 else f"ds[{name!r}] % 360"
    return f"ds = ds.assign_coords({{{name!r}: {other}}}).sortby({name!r})"


def _unwrapped(longitude: xr.DataArray) -> xr.DataArray:
    """Longitudes without the step of 360 degrees where the numbering starts again."""
    values = in_memory(longitude)
    if values.size < 2 or not np.isfinite(values).all():
        return longitude
    jumps = np.abs(np.diff(values.astype(np.float64)))
    if not (jumps > 180).any():
        return longitude
    # In the file's own precision, so that the tolerance for rounding stays the one of that precision.
    unwrapped = np.unwrap(values.astype(np.float64), period=360.0).astype(values.dtype)
    return xr.DataArray(unwrapped, dims=longitude.dims, name=longitude.name, attrs=dict(longitude.attrs))


def is_mesh(latitude: Floats, longitude: Floats) -> bool:
    """Return True if 2-D coordinates only repeat 1-D ones: latitude by row, longitude by column."""
    tolerance = 1e-5
    turn = (longitude - longitude[:1] + 180) % 360 - 180
    return bool(np.abs(latitude - latitude[:, :1]).max() < tolerance and np.abs(turn).max() < tolerance)
