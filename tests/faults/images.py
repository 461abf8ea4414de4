"""Small records that the faults are put into."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.records import drifting, storm
from xvar.errors import AnalysisWarning

SIZE = 24
#: Of tests whose grid is too small for the motion of a loose prior to stay on it, which xvar warns of.
small = pytest.mark.filterwarnings(f"ignore::{AnalysisWarning.__module__}.{AnalysisWarning.__name__}")


def warm(frames: int = 4, size: int = SIZE) -> xr.Dataset:
    """Temperature in degree_Celsius that drifts over a grid of 1 km, a frame each 2 minutes."""
    return drifting(frames=frames, size=size)


def rainy(frames: int = 4, size: int = SIZE) -> xr.Dataset:
    """A corner of the Brest storm in mm h-1, rows ascending, float32."""
    radar = storm(frames, size, size).sortby("y")
    radar["rain"] = (radar["rain"] * np.float32(0.12)).assign_attrs(units="mm h-1", long_name="rain rate")
    return radar


def with_times(record: xr.Dataset, values: object, **attrs: object) -> xr.Dataset:
    return record.assign_coords(time=("time", values, attrs))


def with_values(record: xr.Dataset, change) -> xr.Dataset:
    """The record with its one variable changed: ``change(values) -> values``."""
    (name,) = record.data_vars
    return record.assign({name: record[name].copy(data=change(record[name].values.copy()))})


def in_degrees(latitudes: object, longitudes: object, frames: int = 4) -> xr.Dataset:
    """The drifting temperature on latitude and longitude."""
    record = warm(frames)
    return record.assign_coords(
        y=("y", latitudes, {"units": "degrees_north", "standard_name": "latitude"}),
        x=("x", longitudes, {"units": "degrees_east", "standard_name": "longitude"}),
    )
