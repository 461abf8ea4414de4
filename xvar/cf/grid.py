"""The horizontal grid in true metres."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, in_memory, is_number
from xvar.cf.geodesy import (
    EARTH_RADIUS,
    Floats,
    mapping_attributes,
    mapping_name,
    neighbour_spacing,
    projected_spacing,
    projection,
    to_nodes,
)
from xvar.cf.units import length_factor, normalise_units
from xvar.errors import InputWarning, Problems

GridKind = Literal["projected", "geographic", "curvilinear", "index"]

#: Deviation of a coordinate from equal steps, in steps, that is rounding and not a grid of its own.
TOLERANCE_DOUBLE, TOLERANCE_SINGLE = 1e-6, 1e-3

#: Ratio of neighbouring spacings beyond which a coordinate has a gap or a fault, and is no stretched grid.
SMOOTH_RATIO = 1.3

#: Rows beyond this latitude have columns less than 2 % as wide as at the equator.
HIGHEST_LATITUDE = 89.0

#: Lengths by the mapping and by latitude and longitude that differ more than any choice of ellipsoid explains.
INCONSISTENT = 0.02

_LATITUDE = ("degrees_north", "degree_north", "degree_N", "degrees_N", "degreeN", "degreesN")
_LONGITUDE = ("degrees_east", "degree_east", "degree_E", "degrees_E", "degreeE", "degreesE")


@dataclass(frozen=True)
class HorizontalGrid:
    """A horizontal grid in metres.

    Attributes
    ----------
    shape : tuple of int
        (ny, nx).
    spacing : tuple of float
        (dy, dx), representative, positive, metres.
    metric : ndarray of float64 or None
        (2, ny, nx), true local (dy, dx) in metres with both coordinates ascending; None where spacing is uniform.
    ascending : tuple of bool
        Whether y and x ascend along the index in the file.
    kind : {"projected", "geographic", "curvilinear", "index"}
        Geographic axes run east and north; all others are relative to the grid.
    periodic_x : bool
        The columns go once around the Earth.
    description : str
        Where the metres come from, in words.
    """

    shape: tuple[int, int]
    spacing: tuple[float, float]
    metric: NDArray[np.float64] | None
    ascending: tuple[bool, bool]
    kind: GridKind
    periodic_x: bool
    description: str


@dataclass(frozen=True)
class _Line:
    """A 1-D coordinate, ascending, with its local spacing in its own unit."""

    values: Floats
    spacing: Floats
    uniform: bool
    ascending: bool

    @property
    def step(self) -> float:
        return float(self.spacing.mean())


def horizontal_grid(
    array: xr.DataArray,
    axes: Axes,
    problems: Problems,
    dx: float | None = None,
    dy: float | None = None,
    *,
    mapping: Mapping[str, Any] | xr.Dataset | None = None,
) -> HorizontalGrid | None:
    """Spacing of the grid in true metres, from the coordinates of a variable.

    In this order: `dx` and `dy` as given; 2-D latitude and longitude, by great circles; x and y in a unit of length,
    by the local factor of the grid mapping where it can be read, else as they are; 1-D latitude and longitude,
    R dlat and R cos(lat) dlon on the sphere of 6371 km.

    Parameters
    ----------
    array : DataArray
        The variable with its coordinates.
    axes : Axes
        Its dimensions.
    problems : Problems
        Takes what is missing or inconsistent.
    dx, dy : float, optional
        Metres between columns and rows, stated by the user.
    mapping : mapping or Dataset, optional
        Attributes of the grid mapping variable, or the Dataset that holds it: it is no coordinate of `array`.

    Returns
    -------
    HorizontalGrid or None
        None where a problem was added.
    """
    count = len(problems)
    shape = (array.sizes[axes.y], array.sizes[axes.x])
    if dx is not None or dy is not None:
        return _stated(array, axes, problems, shape, dx, dy)

    for dim in (axes.y, axes.x):
        if array.sizes[dim] < 2:
            problems.add(
                variable=array.name,
                dimension=dim,
                found=f"{array.sizes[dim]} point along {str(dim)!r}",
                expected="two or more: one has no spacing",
                fix="give a larger domain",
            )
    if len(problems) > count:
        return None
    y, x = (coordinate_along(array, dim) for dim in (axes.y, axes.x))
    kinds = (measured(y), measured(x))
    plane = plane_coordinates(array, axes, problems)
    if len(problems) > count:
        return None
    if kinds in (("latitude", "longitude"), ("angle", "angle")) and y is not None and x is not None:
        # Axes that are themselves latitude and longitude need no 2-D ones, unless the pole is rotated.
        if kinds[0] == "latitude" or plane is None:
            return _geographic(y, x, axes, problems, rotated=kinds[0] == "angle")
    elif kinds == ("longitude", "latitude"):
        problems.add(
            variable=array.name,
            found=f"longitude along the y dimension {str(axes.y)!r} and latitude along x",
            expected="latitude along y, longitude along x",
            fix="check the units and standard names of both coordinates",
        )
        return None

    if plane is not None and _is_mesh(*plane):
        latitude, longitude = plane
        return _geographic(
            xr.DataArray(latitude[:, 0], dims="y", name=axes.y, attrs={"units": "degrees_north"}),
            xr.DataArray(longitude[0, :], dims="x", name=axes.x, attrs={"units": "degrees_east"}),
            axes,
            problems,
            rotated=False,
        )

    lines: tuple[_Line, _Line] | None = None
    if y is not None and x is not None and kinds == ("length", "length"):
        pair = tuple(_line(c, metres_per_unit(c), problems) for c in (y, x))
        if pair[0] is None or pair[1] is None:
            return None
        lines = (pair[0], pair[1])
    reference = projection_of(array, mapping)
    if plane is not None:
        return _curvilinear(array, plane, lines, _orientation(y, x), shape, problems, reference)
    if lines is not None:
        return _projected(array, lines, shape, problems, reference)
    _missing(array, axes, y, x, problems)
    return None


def coordinate_along(array: xr.DataArray, dim: Hashable) -> xr.DataArray | None:
    """The 1-D coordinate of a dimension: of its name, else the only numeric one along it."""
    if dim in array.coords:
        named: xr.DataArray = array.coords[dim]
        return named
    along: list[xr.DataArray] = [c for c in array.coords.values() if c.dims == (dim,) and is_number(c)]
    return along[0] if len(along) == 1 else None


def measured(coordinate: xr.DataArray | None) -> Literal["length", "latitude", "longitude", "angle", "none"]:
    """What a 1-D coordinate measures, by standard name and units, by name where it has neither."""
    if coordinate is None or not is_number(coordinate):
        return "none"
    standard = str(coordinate.attrs.get("standard_name", ""))
    units = normalise_units(str(coordinate.attrs.get("units", "")))
    if standard.startswith("grid_") or (units in ("degrees", "degree") and str(coordinate.name).lower()[:1] == "r"):
        return "angle"
    if standard == "latitude" or units in _LATITUDE:
        return "latitude"
    if standard == "longitude" or units in _LONGITUDE:
        return "longitude"
    if units and length_factor(units) is not None:
        return "length"
    if units in ("", "degrees", "degree") and not standard:
        name = str(coordinate.name).lower()
        if name in ("lat", "latitude", "nav_lat"):
            return "latitude"
        if name in ("lon", "longitude", "nav_lon", "long"):
            return "longitude"
    return "none"


def metres_per_unit(coordinate: xr.DataArray) -> float:
    """Metres in a unit of a coordinate that measures lengths."""
    factor = length_factor(str(coordinate.attrs["units"]))
    assert factor is not None
    return factor


def _line(coordinate: xr.DataArray, factor: float, problems: Problems) -> _Line | None:
    """A coordinate in metres (or degrees, with factor 1), ascending and checked."""
    values = np.asarray(in_memory(coordinate), dtype=np.float64)
    name = coordinate.name
    dim = coordinate.dims[0]
    if not np.isfinite(values).all():
        index = int(np.flatnonzero(~np.isfinite(values))[0])
        problems.add(
            variable=name,
            dimension=dim,
            index=index,
            found=f"value {values[index]} at index {index}",
            expected="finite coordinates",
            fix=f"ds.dropna({str(dim)!r}) on the coordinate, or write its values",
        )
        return None
    steps = np.diff(values)
    ascending = bool(np.median(steps) > 0) if steps.size else True
    wrong = np.flatnonzero(steps <= 0) if ascending else np.flatnonzero(steps >= 0)
    if wrong.size:
        index = int(wrong[0]) + 1
        problems.add(
            variable=name,
            dimension=dim,
            index=index,
            found=f"{values[index]:g} at index {index} after {values[index - 1]:g}: not monotonic",
            expected="a coordinate that only ascends or only descends",
            fix=f"ds.sortby({str(dim)!r}), or ds.drop_duplicates({str(dim)!r})",
        )
        return None
    if not ascending:
        values = values[::-1]
    count = values.size
    mean = (values[-1] - values[0]) / (count - 1)
    even = values[0] + mean * np.arange(count)
    deviation = np.abs(values - even).max() / mean
    # A float32 coordinate is exact to its own rounding only, which is what the looser tolerance is for.
    single = coordinate.dtype.kind == "f" and coordinate.dtype.itemsize <= 4
    tolerance = TOLERANCE_SINGLE if single else TOLERANCE_DOUBLE
    if deviation <= tolerance:
        return _Line(even * factor, np.full(count, mean * factor), True, ascending)
    segments = np.diff(values)
    ratios = np.maximum(segments[1:] / segments[:-1], segments[:-1] / segments[1:])
    if ratios.size and ratios.max() > SMOOTH_RATIO:
        index = int(ratios.argmax()) + 1
        at = index if ascending else count - 1 - index
        problems.add(
            variable=name,
            dimension=dim,
            index=at,
            found=f"uneven spacing: neighbouring steps differ by a factor {ratios.max():.4g} at index {at}, "
            f"max deviation {deviation:.4g} of a step from even spacing",
            expected=f"even spacing (to {tolerance:g} of a step), or steps that change by less than "
            f"{SMOOTH_RATIO - 1:.0%} from one to the next",
            fix="regrid, or fill in the missing rows with NaN (ds.reindex)",
        )
        return None
    return _Line(values * factor, to_nodes(segments, 0) * factor, False, ascending)


def _stated(
    array: xr.DataArray, axes: Axes, problems: Problems, shape: tuple[int, int], dx: float | None, dy: float | None
) -> HorizontalGrid | None:
    """Spacing as the user states it; the coordinates, where there are any, give the direction alone."""
    count = len(problems)
    numbers: dict[str, float] = {}
    for label, value in (("dx", dx), ("dy", dy)):
        try:
            numbers[label] = float("nan") if value is None or isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            numbers[label] = float("nan")
        if not (np.isfinite(numbers[label]) and numbers[label] > 0):
            problems.add(
                found=f"{label}={value!r}",
                expected="both dx= and dy=, positive metres",
                fix="dx=1000.0, dy=1000.0",
            )
    if len(problems) > count:
        return None
    ascending = []
    for dim in (axes.y, axes.x):
        coordinate = coordinate_along(array, dim)
        monotonic = None if coordinate is None else _direction(coordinate)
        if coordinate is not None and monotonic is None:
            _line(coordinate, 1.0, problems)
        ascending.append(monotonic is not False)
    if len(problems) > count:
        return None
    return HorizontalGrid(
        shape,
        (numbers["dy"], numbers["dx"]),
        None,
        (ascending[0], ascending[1]),
        "index",
        False,
        f"dx = {numbers['dx']:g} m, dy = {numbers['dy']:g} m as stated in the call",
    )


def _direction(coordinate: xr.DataArray) -> bool | None:
    """True where ascending, False where descending, None where neither."""
    steps = np.diff(np.asarray(in_memory(coordinate), dtype=np.float64))
    if (steps > 0).all():
        return True
    return False if (steps < 0).all() else None


def _orientation(y: xr.DataArray | None, x: xr.DataArray | None) -> tuple[bool, bool]:
    """Direction of both axes; along the index where there is no coordinate to tell."""
    first, second = (None if c is None or measured(c) == "none" else _direction(c) for c in (y, x))
    return first is not False, second is not False


def _geographic(
    y: xr.DataArray, x: xr.DataArray, axes: Axes, problems: Problems, *, rotated: bool
) -> HorizontalGrid | None:
    count = len(problems)
    latitudes = np.asarray(in_memory(y), dtype=np.float64)
    highest = float(np.nanmax(np.abs(latitudes))) if latitudes.size else 0.0
    if highest > 90 + 1e-6:
        index = int(np.nanargmax(np.abs(latitudes)))
        problems.add(
            variable=y.name,
            dimension=axes.y,
            index=index,
            found=f"latitude {latitudes[index]:g} at index {index}: |lat| > 90",
            expected="latitudes between -90 and 90",
            fix="latitude and longitude may be swapped: check which coordinate belongs to which dimension",
        )
    elif highest > HIGHEST_LATITUDE:
        problems.add(
            variable=y.name,
            dimension=axes.y,
            found=f"rows at |lat| = {highest:g}",
            expected=f"|lat| <= {HIGHEST_LATITUDE:g}: columns of a latitude-longitude grid meet at the pole",
            fix=f"ds.where(abs(ds[{str(y.name)!r}]) <= {HIGHEST_LATITUDE:g}, drop=True), or a polar projection",
        )
    rows = _line(y, 1.0, problems)
    columns = _line(_unwrapped(x), 1.0, problems)
    if rows is None or columns is None or len(problems) > count:
        return None
    extent = columns.step * columns.values.size
    if extent > 360 * (1 + 1e-6) and extent - 360 > 0.5 * columns.step:
        problems.add(
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
        _representative(metric),
        metric,
        (rows.ascending, columns.ascending),
        "curvilinear" if rotated else "geographic",
        periodic,
        f"from {name} on a sphere of {EARTH_RADIUS / 1e3:g} km" + (", columns around the globe" if periodic else ""),
    )


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


def plane_coordinates(array: xr.DataArray, axes: Axes, problems: Problems) -> tuple[Floats, Floats] | None:
    """2-D latitude and longitude of the grid points, (y, x) in the order of the file."""
    found: dict[str, xr.DataArray] = {}
    for name, coordinate in array.coords.items():
        if set(coordinate.dims) != {axes.y, axes.x} or not is_number(coordinate):
            continue
        measure = measured(coordinate)
        if measure not in ("latitude", "longitude") and str(name).lower() in ("xlat", "xlong"):
            measure = "latitude" if str(name).lower() == "xlat" else "longitude"
        if measure in ("latitude", "longitude"):
            found.setdefault(measure, coordinate)
    if len(found) < 2:
        return None
    values = {
        key: np.asarray(in_memory(value.transpose(axes.y, axes.x)), dtype=np.float64) for key, value in found.items()
    }
    latitude, longitude = values["latitude"], values["longitude"]
    bad = int(np.count_nonzero(~(np.isfinite(latitude) & np.isfinite(longitude))))
    if bad:
        problems.add(
            variable=found["latitude"].name,
            found=f"{bad} of {latitude.size} points without latitude or longitude",
            expected="finite 2-D latitude and longitude",
            fix="give the position of every point, or drop both coordinates and state dx=, dy=",
        )
        return None
    if np.abs(latitude).max() > 90 + 1e-6:
        problems.add(
            variable=found["latitude"].name,
            found=f"latitude {latitude.flat[int(np.abs(latitude).argmax())]:g}: |lat| > 90",
            expected="latitudes between -90 and 90",
            fix="latitude and longitude may be swapped",
        )
        return None
    return latitude, longitude


def _is_mesh(latitude: Floats, longitude: Floats) -> bool:
    """Whether 2-D coordinates only repeat 1-D ones: latitude by row, longitude by column."""
    tolerance = 1e-5
    turn = (longitude - longitude[:1] + 180) % 360 - 180
    return bool(np.abs(latitude - latitude[:, :1]).max() < tolerance and np.abs(turn).max() < tolerance)


def projection_of(array: xr.DataArray, mapping: Mapping[str, Any] | xr.Dataset | None) -> Any | None:
    """The projection that the variable points at, where it is there and can be read."""
    if isinstance(mapping, xr.Dataset):
        name = mapping_name(array)
        attributes = None if name is None else mapping_attributes(mapping, name)
    elif mapping is not None:
        attributes = dict(mapping)
    else:
        name = mapping_name(array)
        attributes = None if name is None else mapping_attributes(array, name)
    return None if not attributes else projection(attributes)


def _curvilinear(
    array: xr.DataArray,
    plane: tuple[Floats, Floats],
    lines: tuple[_Line, _Line] | None,
    orientation: tuple[bool, bool],
    shape: tuple[int, int],
    problems: Problems,
    reference: Any | None,
) -> HorizontalGrid | None:
    ascending = orientation if lines is None else (lines[0].ascending, lines[1].ascending)
    metric = neighbour_spacing(*plane)
    metric = metric[:, :: 1 if ascending[0] else -1, :: 1 if ascending[1] else -1].copy()
    if metric.min() <= 0:
        _, row, column = np.unravel_index(int(metric.argmin()), metric.shape)
        problems.add(
            variable=array.name,
            index=(int(row), int(column)),
            found="neighbouring points at the same latitude and longitude",
            expected="a position of its own for every point",
            fix="correct the 2-D latitude and longitude, or drop them and state dx=, dy=",
        )
        return None
    by_map = None if lines is None or reference is None or reference.is_geographic else _by_mapping(lines, reference)
    if by_map is not None:
        difference = float(np.abs(by_map / metric - 1).max())
        if difference > INCONSISTENT:
            problems.add(
                variable=array.name,
                found=f"a grid mapping ({mapping_name(array)}) whose spacing differs by {difference:.1%} from that of "
                "the 2-D latitude and longitude",
                expected=f"spacings that agree to {INCONSISTENT:.0%}",
                fix="correct the grid mapping or the coordinates, or drop the one that is wrong",
            )
            return None
    return HorizontalGrid(
        shape,
        _representative(metric),
        metric,
        ascending,
        "curvilinear" if lines is None else "projected",
        False,
        f"from 2-D latitude and longitude, great circles on a sphere of {EARTH_RADIUS / 1e3:g} km",
    )


def _by_mapping(lines: tuple[_Line, _Line], reference: Any) -> Floats | None:
    rows, columns = lines
    return projected_spacing(reference, rows.values, columns.values, rows.spacing, columns.spacing)


def _projected(
    array: xr.DataArray, lines: tuple[_Line, _Line], shape: tuple[int, int], problems: Problems, reference: Any | None
) -> HorizontalGrid | None:
    rows, columns = lines
    ascending = (rows.ascending, columns.ascending)
    name = mapping_name(array)
    metric: Floats | None = None
    if reference is not None and not reference.is_geographic:
        metric = _by_mapping(lines, reference)
        if metric is None:
            problems.add(
                variable=array.name,
                found=f"x and y outside the domain of the grid mapping {name!r}",
                expected="coordinates that belong to the mapping",
                fix="check the units of x and y and the attributes of the grid mapping, or drop the grid_mapping "
                "attribute",
            )
            return None
        low, high = float((rows.step / metric[0]).min()), float((rows.step / metric[0]).max())
        description = f"from x and y by the map factor of {name!r} ({low:.4g} to {high:.4g})"
    else:
        if not (rows.uniform and columns.uniform):
            metric = np.stack(
                [
                    np.broadcast_to(rows.spacing[:, None], shape),
                    np.broadcast_to(columns.spacing[None, :], shape),
                ]
            ).copy()
        why = "there is no grid mapping" if name is None else f"the grid mapping {name!r} is missing or unreadable"
        description = f"from x and y as they are: not checked against a map projection, since {why}"
        if name is not None:  # the file states a projection, and it is lost: distances may be some percent off
            warnings.warn(
                f"variable {array.name!r}: x and y taken as true metres, {description.partition(': ')[2]}; add the "
                "variable that the attribute grid_mapping names, or drop the attribute",
                InputWarning,
                stacklevel=2,
            )
    spacing = (rows.step, columns.step) if metric is None else _representative(metric)
    return HorizontalGrid(shape, spacing, metric, ascending, "projected", False, description)


def _representative(metric: Floats) -> tuple[float, float]:
    return float(metric[0].mean()), float(metric[1].mean())


def _missing(
    array: xr.DataArray, axes: Axes, y: xr.DataArray | None, x: xr.DataArray | None, problems: Problems
) -> None:
    """Say what there is instead of coordinates in metres or degrees."""
    parts = []
    for dim, coordinate in ((axes.y, y), (axes.x, x)):
        if coordinate is None:
            parts.append(f"no coordinate on {str(dim)!r}")
        elif "units" not in coordinate.attrs:
            parts.append(f"coordinate {str(coordinate.name)!r} without units")
        else:
            parts.append(f"coordinate {str(coordinate.name)!r} in {coordinate.attrs['units']!r}")
    problems.add(
        variable=array.name,
        found="; ".join(parts),
        expected="x and y in a unit of length (attrs['units'] = 'm' or 'km'), or latitude and longitude in degrees",
        fix="state the spacing in metres, dx=..., dy=..., or write the units of the coordinates",
    )
