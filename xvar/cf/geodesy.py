"""Distances and directions on the sphere and by a map projection."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import attribute

Floats = NDArray[np.float64]

#: Mean radius of the Earth in metres.
EARTH_RADIUS = 6371e3

#: Attributes of a grid mapping that give the figure of the Earth.
FIGURE = ("earth_radius", "semi_major_axis", "reference_ellipsoid_name", "crs_wkt")

# Degrees; a projection that bends no angle by more is conformal: one map factor serves both directions.
_CONFORMAL = 1e-3

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


def mapping_attributes(dataset_or_array: xr.Dataset | xr.DataArray, name: str) -> dict[str, Any] | None:
    """Return the attributes of a grid mapping variable; its value, of any type, is not read."""
    if isinstance(dataset_or_array, xr.Dataset):
        found = dataset_or_array.variables.get(name)
        return None if found is None else dict(found.attrs)
    coordinate = dataset_or_array.coords.get(name)
    return None if coordinate is None else dict(coordinate.attrs)


def mapping_name(array: xr.DataArray) -> str | None:
    """Return the name of the grid mapping variable of an array (of the extended form, the first)."""
    value = attribute(array, "grid_mapping")
    if not isinstance(value, str) or not value.split():
        return None
    return value.split()[0].rstrip(":")


def projection_of(array: xr.DataArray, mapping: Mapping[str, Any] | xr.Dataset | None) -> Any | None:
    """Return the projection of a variable if it is present and can be read."""
    if isinstance(mapping, xr.Dataset):
        name = mapping_name(array)
        attributes = None if name is None else mapping_attributes(mapping, name)
    elif mapping is not None:
        attributes = dict(mapping)
    else:
        name = mapping_name(array)
        attributes = None if name is None else mapping_attributes(array, name)
    return None if not attributes else projection(attributes)


def projection(attributes: Mapping[str, Any]) -> Any | None:
    """Return the coordinate reference system of a grid mapping variable, None if it cannot be read."""
    text = next((attributes[key] for key in ("proj4_string", "proj4", "proj4_params") if key in attributes), None)
    # Without a figure of the Earth CF leaves it open and pyproj takes WGS 84: a PROJ string that states it is better.
    stated = any(key in attributes for key in FIGURE)
    if ("grid_mapping_name" in attributes or "crs_wkt" in attributes) and (stated or text is None):
        reference = _from_cf(tuple((key, tuple(np.ravel(value).tolist())) for key, value in attributes.items()))
        if reference is not None:
            return reference
    return None if text is None else _from_text(str(text))


# Reading one takes a third of a second, and every call on a file reads the same.
@functools.lru_cache(maxsize=32)
def _from_cf(attributes: tuple[tuple[str, tuple[Any, ...]], ...]) -> Any | None:
    import pyproj

    alone = {key: value[0] if len(value) == 1 else value for key, value in attributes}
    return _read(pyproj.CRS.from_cf, alone)


@functools.lru_cache(maxsize=32)
def _from_text(text: str) -> Any | None:
    import pyproj

    return _read(pyproj.CRS.from_user_input, text)


def _read(reader: Callable[[Any], Any], description: Any) -> Any | None:
    import pyproj

    try:
        return reader(description)
    except (pyproj.exceptions.CRSError, KeyError, ValueError, TypeError):
        return None


def projected_spacing(crs: Any, y: Floats, x: Floats, spacing_y: Floats, spacing_x: Floats) -> Floats | None:
    """Return the true local spacing (2, y, x) in metres along y and x of a grid in a map projection.

    Coordinates y (y,) and x (x,) and their spacing on the map are in metres. None if the grid leaves the domain.
    """
    import pyproj

    grid_x, grid_y = np.meshgrid(x, y)
    shape = grid_x.shape
    # The projection of the map alone, on its own ellipsoid: a change of datum has no part in lengths.
    geographic = crs.geodetic_crs
    inverse = pyproj.Transformer.from_crs(crs, geographic, always_xy=True)
    per_metre = 1.0 / float(crs.axis_info[0].unit_conversion_factor) if crs.axis_info else 1.0

    def geographic_of(map_x: Floats, map_y: Floats) -> tuple[Floats, Floats]:
        longitude, latitude = inverse.transform(map_x * per_metre, map_y * per_metre)
        return np.asarray(longitude), np.asarray(latitude)

    longitude, latitude = geographic_of(grid_x, grid_y)
    if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
        return None
    wide_y = np.broadcast_to(spacing_y[:, None], shape)
    wide_x = np.broadcast_to(spacing_x[None, :], shape)
    factors = pyproj.Proj(crs).get_factors(longitude, latitude)
    scale = np.asarray(factors.meridional_scale)
    if np.abs(factors.angular_distortion).max() < _CONFORMAL:
        return np.stack([wide_y / scale, wide_x / scale])
    # Not conformal, or a singular point: geodesics of one spacing, centred on each point.
    geod = crs.get_geod()
    lengths = []
    for half_y, half_x in ((spacing_y[:, None] / 2, 0.0), (0.0, spacing_x[None, :] / 2)):
        first = geographic_of(grid_x - half_x, grid_y - half_y)
        second = geographic_of(grid_x + half_x, grid_y + half_y)
        lengths.append(np.asarray(geod.inv(*first, *second)[2]).reshape(shape))
    result = np.stack(lengths)
    return result if bool(np.isfinite(result).all() and (result > 0).all()) else None


def projected_directions(crs: Any, y: Floats, x: Floats) -> Floats | None:
    """Return unit vectors (axis, component, y, x) along increasing x and y, towards east and north.

    Coordinates y (y,) and x (x,) are in metres, or in degrees of a rotated pole. None if the grid leaves the domain.
    """
    import pyproj

    grid_x, grid_y = np.meshgrid(x, y)
    inverse = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    per_unit = 1.0 if crs.is_geographic or not crs.axis_info else 1 / float(crs.axis_info[0].unit_conversion_factor)
    geod = crs.get_geod()
    here = inverse.transform(grid_x * per_unit, grid_y * per_unit)
    vectors = []
    # Far enough for geodesics to be exact, near enough for a straight line on the map to be one.
    for along_x, along_y in ((_NEARBY, 0.0), (0.0, _NEARBY)):
        step_x, step_y = (
            share * float(np.abs(np.diff(axis)).min()) * per_unit for share, axis in ((along_x, x), (along_y, y))
        )
        azimuths = []
        for side in (1.0, -1.0):
            there = inverse.transform(grid_x * per_unit + side * step_x, grid_y * per_unit + side * step_y)
            azimuths.append(np.deg2rad(geod.inv(*here, *there)[0]))
        east, north = (trigonometric(azimuths[0]) - trigonometric(azimuths[1]) for trigonometric in (np.sin, np.cos))
        vectors.append(np.stack([east, north]) / np.hypot(east, north))
    result = np.stack(vectors)
    return result if bool(np.isfinite(result).all()) else None


def directions_of_positions(latitude: Floats, longitude: Floats) -> Floats:
    """Return unit vectors (axis, component, y, x) along the index in x and y, towards east and north.

    Latitude and longitude (y, x) are in degrees. The error is of second order in the spacing.
    """
    phi, lam = np.deg2rad(latitude), np.deg2rad(longitude)
    position = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    east = np.stack([-np.sin(lam), np.cos(lam), np.zeros_like(lam)])
    north = np.stack([-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)])
    vectors = []
    for axis in (-1, -2):
        along = np.gradient(position, axis=axis, edge_order=2 if position.shape[axis] > 2 else 1)
        components = np.stack([(along * east).sum(0), (along * north).sum(0)])
        vectors.append(components / np.hypot(*components))
    return np.stack(vectors)
