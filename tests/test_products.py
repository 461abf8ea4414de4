"""Files as their producers write them: each goes through a bare call, finds the motion, and what comes out is CF."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter, shift

import xvar

FRAMES, ROWS, COLUMNS = 4, 64, 74
PIXELS = 1.5  # columns a frame
HOUR, FIVE_MINUTES = 3600.0, 300.0
HEIGHT = 35786023.0


def images(*, positive: bool = False) -> np.ndarray:
    """A pattern that moves PIXELS columns a frame along the index."""
    base = gaussian_filter(np.random.default_rng(0).standard_normal((ROWS + 16, COLUMNS + 16)), 3) * 20
    base = np.maximum(base, 0.0) * 3 if positive else base
    moved = [shift(base, (0, PIXELS * k), order=3, mode="wrap") for k in range(FRAMES)]
    values = np.stack(moved)[:, 8:-8, 8:-8].astype("float32")
    return np.maximum(values, 0.0) if positive else values


def times(seconds: float) -> np.ndarray:
    return np.datetime64("2026-01-01T00:00", "ns") + np.arange(FRAMES) * np.timedelta64(int(seconds), "s")


def goes() -> tuple[xr.Dataset, float, float]:
    """An imager of GOES-R: scan angles in radians, rows from north to south."""
    angle = 56e-6
    mapping = {
        "grid_mapping_name": "geostationary",
        "perspective_point_height": HEIGHT,
        "semi_major_axis": 6378137.0,
        "semi_minor_axis": 6356752.31414,
        "inverse_flattening": 298.2572221,
        "latitude_of_projection_origin": 0.0,
        "longitude_of_projection_origin": -75.0,
        "sweep_angle_axis": "x",
    }
    brightness = {
        "units": "K",
        "standard_name": "toa_brightness_temperature",
        "grid_mapping": "goes_imager_projection",
    }
    axes = {
        name: (name, values.astype("float32"), {"units": "rad", "axis": name.upper(), "standard_name": standard_name})
        for name, values, standard_name in (
            ("y", 0.08 - angle * np.arange(ROWS), "projection_y_coordinate"),
            ("x", -0.03 + angle * np.arange(COLUMNS), "projection_x_coordinate"),
        )
    }
    record = xr.Dataset(
        {"CMI": (("t", "y", "x"), 270 + images(), brightness), "goes_imager_projection": ((), 0, mapping)},
        {"t": ("t", times(FIVE_MINUTES), {"standard_name": "time"}), **axes},
    )
    return record, angle * HEIGHT, FIVE_MINUTES


def wrf() -> tuple[xr.Dataset, float, float]:
    """A history file of WRF: latitude and longitude repeated for each frame, no coordinates along y and x."""
    row, column = np.mgrid[0:ROWS, 0:COLUMNS]
    dims = ("Time", "south_north", "west_east")
    latitude, longitude = 43 + (row - ROWS / 2) * 0.027, 7 + (column - COLUMNS / 2) * 0.037
    positions = {
        name: (dims, np.repeat(values[None].astype("float32"), FRAMES, 0), {"units": units, "MemoryOrder": "XY "})
        for name, values, units in (("XLAT", latitude, "degree_north"), ("XLONG", longitude, "degree_east"))
    }
    record = xr.Dataset(
        {
            "T2": (dims, 285 + images(), {"units": "K", "description": "TEMP at 2 M", "MemoryOrder": "XY "}),
            "Times": ("Time", np.array([f"2026-01-01_{k:02d}:00:00".encode() for k in range(FRAMES)])),
        },
        {**positions, "XTIME": ("Time", times(HOUR), {"description": "minutes since the start"})},
    )
    metres = np.radians(0.037) * 6371e3 * np.cos(np.radians(43))
    return record, metres, HOUR


def grib() -> tuple[xr.Dataset, float, float]:
    """Rain of a radar mosaic as cfgrib decodes it: a scalar step, names that its tables do not know, 0..360."""
    attrs = {"units": "mm h**-1", "standard_name": "unknown", "long_name": "precipitation rate", "GRIB_paramId": 0}
    record = xr.Dataset(
        {"prate": (("time", "latitude", "longitude"), images(positive=True), attrs)},
        {
            "time": ("time", times(FIVE_MINUTES), {"standard_name": "time"}),
            "step": ((), np.timedelta64(0, "ns"), {"standard_name": "forecast_period"}),
            "heightAboveSea": ((), 500.0, {"units": "m"}),
            "latitude": ("latitude", 40.0 - 0.01 * np.arange(ROWS), {"units": "degrees_north"}),
            "longitude": ("longitude", 260.0 + 0.01 * np.arange(COLUMNS), {"units": "degrees_east"}),
            "valid_time": ("time", times(FIVE_MINUTES), {"standard_name": "time"}),
        },
    )
    metres = np.radians(0.01) * 6371e3 * np.cos(np.radians(40.0 - 0.005 * ROWS))
    return record, metres, FIVE_MINUTES


def imerg() -> tuple[xr.Dataset, float, float]:
    """Rain of IMERG: longitude before latitude, a fill value, half hours in a calendar of its own."""
    import cftime

    values = images(positive=True).transpose(0, 2, 1)
    record = xr.Dataset(
        {"precipitation": (("time", "lon", "lat"), values, {"units": "mm/hr", "coordinates": "time lon lat"})},
        {
            "time": (
                "time",
                [cftime.DatetimeJulian(2026, 1, 1, k // 2, 30 * (k % 2)) for k in range(FRAMES)],
                {"standard_name": "time"},
            ),
            "lat": ("lat", (10.05 + 0.1 * np.arange(ROWS)).astype("float32"), {"units": "degrees_north"}),
            "lon": ("lon", (-20.05 + 0.1 * np.arange(COLUMNS)).astype("float32"), {"units": "degrees_east"}),
        },
    )
    metres = np.radians(0.1) * 6371e3 * np.cos(np.radians(10.05 + 0.05 * ROWS))
    return record, metres, 1800.0


def roms() -> tuple[xr.Dataset, float, float]:
    """Surface temperature of ROMS: a level of one value, 2-D positions, a land mask of its own."""
    row, column = np.mgrid[0:ROWS, 0:COLUMNS]
    land = column < 6
    dims = ("ocean_time", "s_rho", "eta_rho", "xi_rho")
    values = np.where(land, np.nan, 15 + images())[:, None]
    positions = {
        "lat_rho": (dims[2:], 43 + row * 0.009, {"units": "degree_north", "standard_name": "latitude"}),
        "lon_rho": (dims[2:], 7 + column * 0.0123, {"units": "degree_east", "standard_name": "longitude"}),
    }
    record = xr.Dataset(
        {
            "temp": (dims, values, {"units": "Celsius", "long_name": "potential temperature", "time": "ocean_time"}),
            "mask_rho": (
                dims[2:],
                (~land).astype("float64"),
                {"flag_values": [0.0, 1.0], "flag_meanings": "land water"},
            ),
        },
        {"ocean_time": ("ocean_time", times(HOUR)), "s_rho": ("s_rho", [-0.0125], {"positive": "up"}), **positions},
    )
    metres = np.radians(0.0123) * 6371e3 * np.cos(np.radians(43 + 0.0045 * ROWS))
    return record, metres, HOUR


def rotated_pole() -> tuple[xr.Dataset, float, float]:
    """A regional model on a rotated pole."""
    mapping = {
        "grid_mapping_name": "rotated_latitude_longitude",
        "grid_north_pole_latitude": 39.25,
        "grid_north_pole_longitude": -162.0,
    }
    attrs = {"units": "K", "standard_name": "air_temperature", "grid_mapping": "rotated_pole"}
    record = xr.Dataset(
        {"tas": (("time", "rlat", "rlon"), 285 + images(), attrs), "rotated_pole": ((), 0, mapping)},
        {
            "time": ("time", times(HOUR), {"standard_name": "time"}),
            "rlat": ("rlat", -3 + 0.11 * np.arange(ROWS), {"units": "degrees", "standard_name": "grid_latitude"}),
            "rlon": ("rlon", -4 + 0.11 * np.arange(COLUMNS), {"units": "degrees", "standard_name": "grid_longitude"}),
            "height": ((), 2.0, {"units": "m", "positive": "up"}),
        },
    )
    return record, np.radians(0.11) * 6371e3, HOUR


PRODUCTS = [goes, wrf, grib, imerg, roms, rotated_pole]


@pytest.mark.filterwarnings("ignore::xvar.AnalysisWarning")
def test_each_product_goes_through_and_its_outputs_are_cf(tmp_path: pathlib.Path) -> None:
    written = []
    for product in PRODUCTS:
        path = tmp_path / f"{product.__name__}.nc"
        record, metres, seconds = product()
        record.to_netcdf(path)
        with xr.open_dataset(path) as opened:
            analysis = opened.var4d.assimilate(window=3)
            inner = analysis["u"].isel(window=0, step=-1).values[10:-10, 10:-10]
            assert np.nanmean(inner) == pytest.approx(PIXELS * metres / seconds, rel=0.08), product.__name__
            forecast = analysis.isel(window=[0]).var4d.forecast(np.timedelta64(int(seconds), "s"))
            scores = forecast.var4d.verify(opened)
        assert scores["number_without_truth"] == 0
        assert (scores["rmse"] < 0.5 * scores["rmse_persistence"]).all(), product.__name__
        for label, result in (("analysis", analysis), ("forecast", forecast)):
            result.to_netcdf(tmp_path / f"{label}-{path.name}")
            written.append(str(tmp_path / f"{label}-{path.name}"))
    checker = pathlib.Path(sys.executable).with_name("compliance-checker")
    run = subprocess.run(
        [str(checker), "-t", "cf:1.11", "-c", "strict", *written], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-4000:]


def test_scan_angles_are_metres_times_the_height_of_the_satellite() -> None:
    record, *_ = goes()
    analysis = record.var4d.assimilate()
    assert np.allclose(analysis["x"], record["x"].astype(float) * HEIGHT, rtol=0, atol=1e-3)
    assert analysis["y"].attrs["units"] == "m"
    assert "scan angles 'y' and 'x' read as metres" in str(analysis.var4d.summary())


def test_space_around_the_disk_is_to_be_cropped() -> None:
    record, *_ = goes()
    beyond = record.assign_coords(y=("y", record["y"].values + 0.08, record["y"].attrs))
    with pytest.raises(xvar.InputError, match="crop to the Earth's disk"):
        beyond.var4d.assimilate()


def test_positions_that_move_with_the_storm_are_refused() -> None:
    record, *_ = wrf()
    record["XLAT"] = record["XLAT"] + xr.DataArray([0.0, 0.0, 0.1, 0.1], dims="Time")
    record = record.set_coords("XLAT")
    with pytest.raises(xvar.InputError, match=r"'XLAT', dimension 'Time', index 2: .*differ from those of the first"):
        record.var4d.assimilate("T2")
