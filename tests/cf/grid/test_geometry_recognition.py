"""What kind of grid the coordinates make, of made and of real files."""

from __future__ import annotations

import warnings

import numpy as np
import pyproj
import pytest
import xarray as xr

from tests.cf.grid.records import STEREOGRAPHIC, grid, metres, on, plane_of, refusal
from tests.cf.outputs import FILES
from tests.cf.test_axes import images
from tests.faults.codes import raised
from xvar.cf.axes import Axes
from xvar.cf.grid.coordinates import measured


def test_coordinates_without_units():
    """Fault 49."""
    text = refusal(on(np.arange(5.0), np.arange(6.0)))
    assert "coordinate 'y' without units" in text
    assert "dx=..., dy=..." in text


def test_coordinates_in_something_else():
    assert "coordinate 'y' in 'pixels'" in refusal(metres(np.arange(5.0), np.arange(6.0), "pixels"))


def test_no_coordinates():
    """Fault 50."""
    text = refusal(images())
    assert "no coordinate on 'y'" in text
    assert "dx=..., dy=..." in text
    assert "variable 'rain'" in text


def test_one_row():
    """Fault 55."""
    raised(lambda: grid(metres(np.array([0.0]), np.arange(6.0))), "grid-too-small", dimension="y")


def test_latitude_along_x():
    """Fault 51."""
    array = on(np.arange(5.0), np.arange(6.0), {"units": "degrees_east"}, {"units": "degrees_north"})
    assert "longitude along the y dimension" in refusal(array)


def test_misspelt_degrees():
    """Fault 37."""
    array = on(np.arange(5.0), np.arange(6.0), {"units": "degrees North"}, {"units": "degrees East"})
    assert grid(array).kind == "geographic"


@pytest.mark.parametrize("file", FILES)
def test_real_files(file, shared_data):
    name, expected = FILES[file]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate dimension names")
        dataset = xr.open_dataset(shared_data / file)
    array = dataset[name]
    result = grid(array, Axes(*array.dims), mapping=dataset)
    assert result.kind == expected
    assert result.shape == array.shape[1:]
    if file == "ocean-arctic20-20160201.nc":
        # 2 to 7 % of map factor.
        factor = 20e3 / result.metric
        assert (factor.min(), factor.max()) == pytest.approx((0.936, 0.979), abs=2e-3)
        latitude = dataset.latitude.values
        for row, column in ((3, 4), (25, 50), (48, 80)):
            exact = 20e3 * (1 + np.sin(np.deg2rad(latitude[row, column]))) / (1 + np.sin(np.deg2rad(60)))
            np.testing.assert_allclose(result.metric[:, row, column], exact, rtol=1e-3)
    if file == "radar-meteonet-brest-20180103.nc":
        assert result.spacing == (1200.0, 1200.0)
        assert result.ascending == (False, True)


@pytest.mark.parametrize("units", ["degrees", "degree"])
def test_rotated_coordinates_are_known_by_their_names(units):
    """Files of COSMO without standard names: angles on a turned sphere, not latitude and longitude."""
    for name, expected in (("rlat", "angle"), ("rlon", "angle"), ("lat", "latitude"), ("lon", "longitude")):
        assert measured(xr.DataArray(np.arange(5.0), dims=name, name=name, attrs={"units": units})) == expected
    assert measured(xr.DataArray(np.arange(5.0), dims="r", name="r", attrs={"units": "m"})) == "length"


def test_axes_go_along_the_index_where_numbers_of_rows_tell_nothing():
    plane = plane_of(pyproj.CRS.from_cf(STEREOGRAPHIC), 2e6 + np.arange(5) * 1e4, np.arange(6) * 1e4)
    for rows in (np.arange(5.0)[::-1], np.arange(5.0)):
        for columns in (np.arange(6.0)[::-1], np.arange(6.0)):
            assert grid(on(rows, columns, **plane)).ascending == (True, True)
