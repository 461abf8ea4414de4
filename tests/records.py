"""Records that several test modules use."""

from __future__ import annotations

import functools

import numpy as np
import xarray as xr

import xvar


def storm(frames: int = 4, rows: int = 48, columns: int = 40) -> xr.Dataset:
    """A corner of the Brest storm, small enough for many solves."""
    radar = xvar.datasets.sample().drop_vars("valid")
    return radar.isel(time=slice(0, frames), y=slice(30, 30 + rows), x=slice(60, 60 + columns)).copy(deep=True)


@functools.lru_cache
def analysis(dtype: str = "float32") -> xr.Dataset:
    """The analysis of all of the storm; not to be changed."""
    return xvar.datasets.sample().var4d.assimilate(dtype=dtype)


def drifting(speed: tuple[float, float] = (10.0, -5.0), *, frames: int = 4, size: int = 48) -> xr.Dataset:
    """Smooth temperature that drifts at (u, v) m/s on a grid of 1 km, a frame each 2 minutes."""
    y, x = np.meshgrid(np.arange(size) * 1e3, np.arange(size) * 1e3, indexing="ij")
    seconds = np.arange(frames) * 120.0
    waves = [(7e3, 11e3, 0.3), (13e3, 9e3, 1.1), (17e3, -8e3, 2.0), (-21e3, 15e3, 0.7)]

    def field(moved_y: np.ndarray, moved_x: np.ndarray) -> np.ndarray:
        return sum(np.sin(2 * np.pi * (moved_x / a + moved_y / b) + c) for a, b, c in waves)

    images = np.stack([field(y - speed[1] * t, x - speed[0] * t) for t in seconds])
    return xr.Dataset(
        {"sst": (("time", "y", "x"), 15 + images, {"units": "degree_Celsius", "long_name": "temperature"})},
        {
            "time": ("time", np.datetime64("2020-01-01", "ns") + (seconds * 1e9).astype("timedelta64[ns]")),
            "y": ("y", y[:, 0], {"units": "m", "standard_name": "projection_y_coordinate"}),
            "x": ("x", x[0], {"units": "m", "standard_name": "projection_x_coordinate"}),
        },
    )


def bare(array: xr.DataArray) -> xr.DataArray:
    """The same without attributes of its own; those of its coordinates stay."""
    result = array.copy()
    result.attrs = {}
    return result
