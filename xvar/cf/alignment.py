"""A field of another file on the points of a record: the same points in whatever order, units or numbering."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, check_extra, is_number, plane_of
from xvar.cf.grid.coordinates import scaled, tolerance_of
from xvar.cf.units import length_factor
from xvar.errors import Faults

_INTERPOLATE = "interpolate it onto the grid of the record, field.interp_like(record)"


def on_grid(field: xr.DataArray, like: xr.DataArray, axes: Axes, faults: Faults, label: str) -> xr.DataArray | None:
    """Return a field (y, x) in the order and under the names of the points of a record; None if a fault was added.

    Points are the same if coordinates agree to 1e-6 of their spacing, or 1e-3 if either is of single precision: smaller
    differences are rounding. Other dimensions have size one; `label` names the field in messages.
    """
    count = len(faults)
    plane = (axes.y, axes.x)
    if not set(plane) <= set(field.dims):
        own = plane_of(field)
        if own is not None:
            field = field.rename({old: new for old, new in zip(own, plane, strict=True) if old != new})
    missing = [repr(str(dim)) for dim in plane if dim not in field.dims]
    if missing:
        faults.add(
            code="missing-dimension",
            variable=label,
            found=f"dimensions ({', '.join(map(str, field.dims))}), without {' and '.join(missing)}",
            expected=f"dimensions ({axes.y}, {axes.x})",
            fix="rename its dimensions, or give their coordinates attrs['axis'] = 'Y' and 'X'",
        )
        return None
    check_extra(field, plane, label, faults)
    if len(faults) > count:
        return None
    field = field.isel({dim: 0 for dim in field.dims if dim not in plane}, drop=True).transpose(*plane)
    for dim in plane:
        if field.sizes[dim] != like.sizes[dim]:
            faults.add(
                code="other-size",
                variable=label,
                dimension=dim,
                found=f"size {field.sizes[dim]} along {str(dim)!r}",
                expected=f"size {like.sizes[dim]}, that of {str(like.name)!r}",
                fix=_INTERPOLATE,
            )
    if len(faults) > count:
        return None
    order = {dim: _order(field, like, dim, faults, label) for dim in plane}
    if len(faults) > count:
        return None
    return field.isel({dim: index for dim, index in order.items() if index is not None})


def _order(
    field: xr.DataArray, like: xr.DataArray, dim: Hashable, faults: Faults, label: str
) -> NDArray[np.intp] | None:
    """Return the index in the field of each point of the record along a dimension; None without both coordinates."""
    pair = [array.coords[dim] for array in (field, like) if dim in array.coords]
    if len(pair) < 2 or not all(map(is_number, pair)):
        return None
    theirs, ours = map(scaled, pair)
    step = float(np.abs(np.diff(ours)).min())
    shifted = theirs
    if _is_longitude(pair[1]):
        # The numbering of the record, whichever the field has.
        middle = 0.5 * (float(ours.min()) + float(ours.max()))
        shifted = middle + (theirs - middle + 180.0) % 360.0 - 180.0
    order = np.argsort(shifted, kind="stable")[np.argsort(np.argsort(ours, kind="stable"), kind="stable")]
    difference = float(np.abs(shifted[order] - ours).max())
    tolerance = tolerance_of(*pair) * step
    if difference <= tolerance:
        return order
    units = str(pair[1].attrs.get("units", "")).strip()
    units = " m" if length_factor(units) is not None else f" {units}".rstrip()
    ranges = f"{theirs.min():g} to {theirs.max():g}{units} against {ours.min():g} to {ours.max():g}{units}"
    apart = shifted.min() > ours.max() or shifted.max() < ours.min()
    faults.add(
        code="other-points",
        variable=label,
        dimension=dim,
        found=f"other points along {str(dim)!r}: "
        + (f"{ranges}, which do not overlap" if apart else f"they differ by up to {difference:g}{units}, {ranges}"),
        expected=f"the points of {str(like.name)!r}, to {tolerance / step:g} of their spacing ({step:g}{units})",
        fix="choose the same region" if apart else _INTERPOLATE,
    )
    return None


def _is_longitude(coordinate: xr.DataArray) -> bool:
    units = str(coordinate.attrs.get("units", "")).lower()
    return coordinate.attrs.get("standard_name") == "longitude" or "east" in units or str(coordinate.name)[:3] == "lon"
