"""Records on grids of each kind."""

from __future__ import annotations

import numpy as np
import pyproj
import xarray as xr

from tests.cf.test_axes import images, message
from xvar.cf.axes import Axes
from xvar.cf.geodesy import EARTH_RADIUS
from xvar.cf.grid import horizontal_grid
from xvar.errors import Faults

AXES = Axes("time", "y", "x")
SPHERE = pyproj.Geod(a=EARTH_RADIUS, b=EARTH_RADIUS)
EARTH = pyproj.Geod(ellps="WGS84")

STEREOGRAPHIC = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 58.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
    "earth_radius": EARTH_RADIUS,
}


def on(y, x, y_attrs=None, x_attrs=None, **coords) -> xr.DataArray:
    array = images(shape=(2, len(y), len(x)))
    return array.assign_coords(y=("y", y, y_attrs or {}), x=("x", x, x_attrs or {}), **coords)


def geographic(latitude, longitude) -> xr.DataArray:
    return on(latitude, longitude, {"units": "degrees_north"}, {"units": "degrees_east"})


def metres(y, x, units="m", **attrs) -> xr.DataArray:
    return on(y, x, {"units": units}, {"units": units}).assign_attrs(attrs)


def held(mapping: dict[str, object]) -> xr.Dataset:
    """Return a Dataset with a grid mapping variable."""
    return xr.Dataset({"crs": ((), 0, mapping)})


def grid(array, axes=AXES, **options):
    faults = Faults()
    result = horizontal_grid(array, axes, faults, **options)
    faults.raise_if_any()
    return result


def refusal(array, **options) -> str:
    faults = Faults()
    assert horizontal_grid(array, AXES, faults, **options) is None
    return message(faults)


def plane_of(crs, y, x):
    longitude, latitude = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(
        *np.meshgrid(x, y)
    )
    return {
        "latitude": (("y", "x"), latitude, {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": (("y", "x"), longitude, {"standard_name": "longitude", "units": "degrees_east"}),
    }
