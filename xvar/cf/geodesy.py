"""Grid mappings, and distances, directions and positions by them or on the sphere."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray

from xvar.cf.axes import attribute

Floats = NDArray[np.float64]

#: Mean radius of the Earth in metres.
EARTH_RADIUS = 6371e3

#: Attributes of a grid mapping that give the figure of the Earth.
FIGURE = ("earth_radius", "semi_major_axis", "reference_ellipsoid_name", "crs_wkt")

# Degrees; a projection that bends no angle by more is conformal: one map factor serves both directions.
_CONFORMAL = 1e-3

#: Largest number of Gauss-Newton steps, each of which doubles the digits of a position; its accuracy, and the distance
#: beyond the edge that is rounding, in cells.
STEPS, CLOSE, SLACK = 20, 1e-9, 1e-6

#: Points of a grid from which the scale of its map is interpolated by polynomials of a degree, to a share of `_SMOOTH`.
LARGE_GRID = 1_000_000
_DEGREE, _SMOOTH = 16, 1e-6
#: Points of a part of it, at the limb of the disk of the Earth, whose scale is found at each.
SMALL_PART = 20_000
# Share of the spacing at which a neighbour gives the direction of an axis.
_NEARBY = 1e-2


def neighbour_spacing(latitude: Floats, longitude: Floats) -> Floats:
    """Return the local spacing (2, y, x) in metres along y and x of a grid of latitude and longitude (y, x) in degrees.

    By great circles on the sphere of 6371 km: the mean of the distances to both neighbours (to one at an edge).
    """
    import pyproj

    sphere = pyproj.Geod(a=EARTH_RADIUS, b=EARTH_RADIUS)
    along_y = sphere.inv(longitude[:-1], latitude[:-1], longitude[1:], latitude[1:])[2]
    along_x = sphere.inv(longitude[:, :-1], latitude[:, :-1], longitude[:, 1:], latitude[:, 1:])[2]
    return np.stack([to_nodes(along_y, 0), to_nodes(along_x, 1)])


def to_nodes(segments: Floats, axis: int) -> Floats:
    """Return lengths of the segments between points at the points: (n - 1) to (n) along `axis`."""
    segments = np.moveaxis(segments, axis, 0)
    inner = (segments[1:] + segments[:-1]) / 2
    return np.moveaxis(np.concatenate([segments[:1], inner, segments[-1:]]), 0, axis)


def mapping_attributes(holder: xr.Dataset | xr.DataArray, name: str | None) -> dict[str, Any] | None:
    """Return the attributes of a grid mapping variable; its value, of any type, is not read."""
    found = (holder.variables if isinstance(holder, xr.Dataset) else holder.coords).get(name)
    return None if found is None else dict(found.attrs)


def mapping_name(array: xr.DataArray) -> str | None:
    """Return the name of the grid mapping variable of an array (of the extended form, the first)."""
    value = attribute(array, "grid_mapping")
    return value.split()[0].rstrip(":") if isinstance(value, str) and value.split() else None


def projection_of(array: xr.DataArray, dataset: xr.Dataset | None) -> Any | None:
    """Return the projection of a variable, from a Dataset or its own coordinates, if it is present and can be read."""
    attributes = mapping_attributes(array if dataset is None else dataset, mapping_name(array))
    return None if not attributes else projection(attributes)


def projection(attributes: Mapping[str, Any]) -> Any | None:
    """Return the coordinate reference system of a grid mapping variable, None if it cannot be read."""
    text = next((attributes[key] for key in ("proj4_string", "proj4", "proj4_params") if key in attributes), None)
    # Without a figure of the Earth CF leaves it open and pyproj takes WGS 84: a PROJ string that states it is better.
    stated = any(key in attributes for key in FIGURE)
    if ("grid_mapping_name" in attributes or "crs_wkt" in attributes) and (stated or text is None):
        reference = _read(tuple((key, tuple(np.ravel(value).tolist())) for key, value in attributes.items()))
        if reference is not None:
            return reference
    return None if text is None else _read(str(text))


# Reading one takes a third of a second, and every call on a file reads the same.
@functools.lru_cache(maxsize=64)
def _read(description: str | tuple[tuple[str, tuple[Any, ...]], ...]) -> Any | None:
    """Return the reference system of a PROJ string, or of the attributes of CF."""
    import pyproj

    try:
        if isinstance(description, str):
            return pyproj.CRS.from_user_input(description)
        return pyproj.CRS.from_cf({key: value[0] if len(value) == 1 else value for key, value in description})
    except (pyproj.exceptions.CRSError, KeyError, ValueError, TypeError):
        return None


def geographic(crs: Any) -> Callable[[Floats, Floats], tuple[Floats, Floats]]:
    """Return the function from x and y on a map, in metres or degrees of a rotated pole, to longitude and latitude."""
    import pyproj

    # The projection of the map alone, on its own ellipsoid: a change of datum has no part in lengths.
    inverse = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    scale = 1.0 if crs.is_geographic or not crs.axis_info else 1.0 / float(crs.axis_info[0].unit_conversion_factor)

    def transform(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        longitude, latitude = inverse.transform(x * scale, y * scale)
        return np.asarray(longitude), np.asarray(latitude)

    return transform


def projected_spacing(crs: Any, y: Floats, x: Floats, spacing_y: Floats, spacing_x: Floats) -> Floats:
    """Return the true local spacing (2, y, x) in metres along y and x of a grid in a map projection.

    Coordinates y (y,) and x (x,) and their spacing on the map are in metres. NaN beyond the domain of the projection,
    such as the disk of the Earth that a satellite sees.
    Of large grids the scale of the map is found at some points, and interpolated by polynomials where it is smooth.
    """
    return _spacing_of_lines(crs, *(line.tobytes() for line in (y, x, spacing_y, spacing_x)))


# The analysis, the forecast and the scores of one record all need it, and none changes it.
@functools.lru_cache(maxsize=1)
def _spacing_of_lines(crs: Any, *lines: bytes) -> Floats:
    y, x, spacing_y, spacing_x = (np.frombuffer(line) for line in lines)
    find = _spacing_at_all_points if y.size * x.size <= LARGE_GRID else _spacing_in_parts
    return find(crs, y, x, spacing_y, spacing_x)


def _spacing_in_parts(crs: Any, y: Floats, x: Floats, spacing_y: Floats, spacing_x: Floats) -> Floats:
    """Return the local spacing by polynomials, of halves of the grid if these miss it, of small parts at all points."""
    if y.size * x.size <= SMALL_PART:
        return _spacing_at_all_points(crs, y, x, spacing_y, spacing_x)
    result = _interpolated_spacing(crs, y, x, spacing_y, spacing_x)
    if result is not None:
        return result
    if y.size >= x.size:
        half = y.size // 2
        rows = ((y[part], x, spacing_y[part], spacing_x) for part in (slice(half), slice(half, None)))
        return np.concatenate([_spacing_in_parts(crs, *part) for part in rows], axis=1)
    half = x.size // 2
    columns = ((y, x[part], spacing_y, spacing_x[part]) for part in (slice(half), slice(half, None)))
    return np.concatenate([_spacing_in_parts(crs, *part) for part in columns], axis=2)


def _interpolated_spacing(crs: Any, y: Floats, x: Floats, spacing_y: Floats, spacing_x: Floats) -> Floats | None:
    """Return the local spacing by Chebyshev polynomials; None if they miss it between their nodes."""
    steps = float(np.median(spacing_y)), float(np.median(spacing_x))
    nodes = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))

    def scale(at_y: Floats, at_x: Floats) -> Floats:
        places = ((line[0] + line[-1] + part * (line[-1] - line[0])) / 2 for line, part in ((y, at_y), (x, at_x)))
        own = (np.full(part.size, step) for part, step in zip((at_y, at_x), steps, strict=True))
        return np.asarray(_spacing_at_all_points(crs, *places, *own) / np.array(steps)[:, None, None])

    known = scale(nodes, nodes)
    if not np.isfinite(known).all():
        return None
    fit = np.linalg.inv(chebvander(nodes, _DEGREE))
    coefficients = fit @ known @ fit.T
    between = np.concatenate([[1.0], (nodes[1:] + nodes[:-1]) / 2, [-1.0]])
    basis = chebvander(between, _DEGREE)
    if not np.abs(basis @ coefficients @ basis.T / scale(between, between) - 1).max() < _SMOOTH:  # nor NaN
        return None
    along_y, along_x = (chebvander((2 * line - line[0] - line[-1]) / (line[-1] - line[0]), _DEGREE) for line in (y, x))
    result: Floats = along_y @ coefficients @ along_x.T
    result[0] *= spacing_y[:, None]
    result[1] *= spacing_x
    return result


def _spacing_at_all_points(crs: Any, y: Floats, x: Floats, spacing_y: Floats, spacing_x: Floats) -> Floats:
    """Return the local spacing found at each point, NaN beyond the domain."""
    import pyproj

    grid_x, grid_y = np.meshgrid(x, y)
    transform = geographic(crs)
    longitude, latitude = transform(grid_x, grid_y)
    known = np.isfinite(longitude) & np.isfinite(latitude)
    result = np.full((2, *known.shape), np.nan)
    if not known.any():
        return result
    whole = bool(known.all())
    east, north = (longitude, latitude) if whole else (longitude[known], latitude[known])
    factors = pyproj.Proj(crs).get_factors(east, north)
    if whole and np.abs(factors.angular_distortion).max() < _CONFORMAL:
        return np.asarray(np.stack(np.broadcast_arrays(spacing_y[:, None], spacing_x)) / factors.meridional_scale)
    # Not conformal, or a singular point: geodesics of one spacing, centred on each point.
    steps = np.broadcast_arrays(spacing_y[:, None], spacing_x[None, :])
    for axis, (half_y, half_x) in enumerate(((steps[0] / 2, 0 * steps[1]), (0 * steps[0], steps[1] / 2))):
        first, second = (
            transform((grid_x + side * half_x)[known], (grid_y + side * half_y)[known]) for side in (-1, 1)
        )
        result[axis, known] = crs.get_geod().inv(*first, *second)[2]
    result[:, ~(np.isfinite(result) & (result > 0)).all(axis=0)] = np.nan
    return result


def projected_directions(crs: Any, y: Floats, x: Floats) -> Floats | None:
    """Return unit vectors (axis, component, y, x) along increasing x and y, towards east and north.

    Coordinates y (y,) and x (x,) are in metres, or in degrees of a rotated pole. NaN at points beyond the domain; None
    if these are all.
    """
    grid_x, grid_y = np.meshgrid(x, y)
    transform = geographic(crs)
    here = transform(grid_x, grid_y)
    # Far enough for geodesics to be exact, near enough for a straight line on the map to be one.
    near_x, near_y = (_NEARBY * float(np.abs(np.diff(axis)).min()) for axis in (x, y))
    vectors = []
    for step_x, step_y in ((near_x, 0.0), (0.0, near_y)):
        sides = (transform(grid_x + side * step_x, grid_y + side * step_y) for side in (1.0, -1.0))
        ahead, behind = (np.deg2rad(crs.get_geod().inv(*here, *there)[0]) for there in sides)
        vector = np.stack([np.sin(ahead) - np.sin(behind), np.cos(ahead) - np.cos(behind)])
        vectors.append(vector / np.hypot(*vector))
    result = np.where(np.isfinite(vectors).all(axis=(0, 1)), np.stack(vectors), np.nan)
    return None if bool(np.isnan(result).all()) else result


def unit_vectors(latitude: Floats, longitude: Floats) -> Floats:
    """Return the vectors (3, ...) from the centre of the sphere to positions in degrees."""
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])


def directions_of_positions(latitude: Floats, longitude: Floats) -> Floats:
    """Return unit vectors (axis, component, y, x) along the index in x and y, to second order in the spacing."""
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    position = unit_vectors(latitude, longitude)
    east = np.stack([-np.sin(lam), np.cos(lam), np.zeros_like(lam)])
    north = np.stack([-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)])
    vectors = []
    for axis in (-1, -2):
        along = np.gradient(position, axis=axis, edge_order=2 if position.shape[axis] > 2 else 1)
        components = np.stack([(along * east).sum(0), (along * north).sum(0)])
        vectors.append(components / np.hypot(*components))
    return np.stack(vectors)


def along_line(coordinate: Floats, where: Floats) -> Floats:
    """Return the position in an ascending 1-D coordinate, in steps of its index; NaN beyond its ends."""
    return np.interp(where, coordinate, np.arange(coordinate.size), left=np.nan, right=np.nan)


def on_curvilinear(latitude: Floats, longitude: Floats, north: Floats, east: Floats) -> Floats:
    r"""Return the positions (2, point), x and y in grid units, of points on a grid of 2-D latitude and longitude.

    Between four grid points the grid is bilinear in the unit vectors of its points; the position is the zero of the
    component along the grid of

    .. math:: r(i, j) = \frac{p(i, j)}{|p(i, j)|} - p_0

    by Gauss-Newton steps from the nearest grid point (k-d tree). `latitude` and `longitude` (y, x) are finite, `north`
    and `east` (point,) in degrees, longitudes in any turn. NaN outside the grid, or if a coordinate is NaN.
    """
    from scipy.spatial import cKDTree

    nodes, points = unit_vectors(latitude, longitude), unit_vectors(north, east)
    ny, nx = latitude.shape
    found = np.full((2, points.shape[1]), np.nan)
    known = np.isfinite(points).all(axis=0)
    target = points[:, known]
    nearest = cKDTree(nodes.reshape(3, -1).T).query(target.T)[1].astype(int)
    place = np.stack([nearest % nx, nearest // nx]).astype("float64")
    for _ in range(STEPS):
        column = np.clip(np.floor(place[0]), 0, nx - 2).astype(int)
        row = np.clip(np.floor(place[1]), 0, ny - 2).astype(int)
        p, q = place[0] - column, place[1] - row
        a, b = nodes[:, row, column], nodes[:, row, column + 1]
        c, d = nodes[:, row + 1, column], nodes[:, row + 1, column + 1]
        here = (1 - q) * ((1 - p) * a + p * b) + q * ((1 - p) * c + p * d)
        along_x, along_y = (1 - q) * (b - a) + q * (d - c), (1 - p) * (c - a) + p * (d - b)
        # The chord lies below the sphere: compare directions.
        residual = target * (here * target).sum(0) - here
        xx, yy, xy = (along_x**2).sum(0), (along_y**2).sum(0), (along_x * along_y).sum(0)
        rx, ry = (along_x * residual).sum(0), (along_y * residual).sum(0)
        determinant = xx * yy - xy**2
        with np.errstate(invalid="ignore", divide="ignore"):
            step = np.stack([(yy * rx - xy * ry) / determinant, (xx * ry - xy * rx) / determinant])
        step = np.clip(step, -2.0, 2.0)
        # At most a cell beyond the edge: points farther away are outside.
        place = np.clip(place + step, -1.0, [[nx], [ny]])
        if not (np.abs(np.nan_to_num(step)) > CLOSE).any():
            break
    edge = np.array([[nx - 1.0], [ny - 1.0]])
    inside = ((place >= -SLACK) & (place <= edge + SLACK)).all(axis=0)
    found[:, known] = np.where(inside, np.clip(place, 0.0, edge), np.nan)
    return found


_COMMON = frozenset(
    {
        *("grid_mapping_name", "crs_wkt", "geographic_crs_name", "horizontal_datum_name", "projected_crs_name"),
        *("prime_meridian_name", "reference_ellipsoid_name", "earth_radius", "semi_major_axis", "semi_minor_axis"),
        *("inverse_flattening", "longitude_of_prime_meridian", "towgs84", "geoid_name", "geopotential_datum_name"),
        *("long_name", "comment", "false_easting", "false_northing"),
        # Not of CF, but what other programs read.
        *("spatial_ref", "GeoTransform", "proj4", "proj4_string", "proj4_params"),
    }
)

_NORTH, _EAST = "latitude_of_projection_origin", "longitude_of_projection_origin"
_MERIDIAN, _PARALLEL, _SCALE = "longitude_of_central_meridian", "standard_parallel", "scale_factor_at_projection_origin"

#: The mappings of CF (appendix F) and the attributes that each has beside the common ones.
_MAPPINGS: dict[str, tuple[str, ...]] = {
    "albers_conical_equal_area": (_PARALLEL, _MERIDIAN, _NORTH),
    "azimuthal_equidistant": (_NORTH, _EAST),
    "geostationary": (_NORTH, _EAST, "perspective_point_height", "sweep_angle_axis", "fixed_angle_axis"),
    "lambert_azimuthal_equal_area": (_NORTH, _EAST),
    "lambert_conformal_conic": (_PARALLEL, _MERIDIAN, _NORTH),
    "lambert_cylindrical_equal_area": (_MERIDIAN, _PARALLEL, _SCALE),
    "latitude_longitude": (),
    "mercator": (_EAST, _PARALLEL, _SCALE),
    "oblique_mercator": (_NORTH, _EAST, "azimuth_of_central_line", _SCALE),
    "orthographic": (_NORTH, _EAST),
    "polar_stereographic": ("straight_vertical_longitude_from_pole", _NORTH, _PARALLEL, _SCALE),
    "rotated_latitude_longitude": (
        *("grid_north_pole_latitude", "grid_north_pole_longitude", "north_pole_grid_longitude"),
    ),
    "sinusoidal": (_EAST,),
    "stereographic": (_NORTH, _EAST, _SCALE),
    "transverse_mercator": ("scale_factor_at_central_meridian", _MERIDIAN, _NORTH),
    "vertical_perspective": (_NORTH, _EAST, "perspective_point_height"),
}


def rewritten(attributes: Mapping[str, Any], notes: list[str], name: str) -> xr.Variable | None:
    """Return a grid mapping variable made anew, a scalar int32; None if its attributes make no mapping of CF."""
    kept = dict(attributes)
    reference = projection(kept)
    if kept.get("grid_mapping_name") not in _MAPPINGS:
        made = {} if reference is None else reference.to_cf()
        if made.get("grid_mapping_name") not in _MAPPINGS:
            notes.append(f"grid mapping {name} dropped: no mapping of CF")
            return None
        notes.append(f"grid mapping {name} completed as {made['grid_mapping_name']}")
        kept.update(made)
    if kept["grid_mapping_name"] == "polar_stereographic" and _NORTH not in kept:  # pyproj writes the parallel alone
        kept[_NORTH] = math.copysign(90.0, float(kept.get(_PARALLEL, 90.0)))
        notes.append(f"{_NORTH} of {name}: {kept[_NORTH]:g}")
    own = _MAPPINGS[str(kept["grid_mapping_name"])]
    result = {key: _plain(value) for key, value in kept.items() if key in _COMMON or key in own}
    foreign = [key for key in kept if key not in {*result, "coordinates", "_FillValue", "units"}]
    notes.extend(f"attribute {key} of {name} dropped: no attribute of {kept['grid_mapping_name']}" for key in foreign)
    if reference is not None and not any(key in result for key in FIGURE) and reference.ellipsoid is not None:
        ellipsoid = reference.ellipsoid
        if ellipsoid.semi_major_metre == ellipsoid.semi_minor_metre:
            result["earth_radius"] = float(ellipsoid.semi_major_metre)
        else:
            result["semi_major_axis"] = float(ellipsoid.semi_major_metre)
            result["inverse_flattening"] = float(ellipsoid.inverse_flattening)
        notes.append(f"figure of the Earth of {name} completed from its PROJ string")
    return xr.Variable((), np.int32(0), result)


def _plain(value: Any) -> Any:
    """Return a value that a file can hold: text, a float64 or float64s."""
    if isinstance(value, (str, bytes)):
        return value if isinstance(value, str) else value.decode("utf-8", "replace")
    numbers = np.asarray(value, dtype=np.float64)
    return float(numbers) if numbers.ndim == 0 else numbers
