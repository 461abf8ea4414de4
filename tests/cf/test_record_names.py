"""Names of the input that the output has too."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.faults.codes import raised
from tests.records import storm


@pytest.mark.parametrize("name", ["step", "window", "stage", "interval", "lead_time", "time", "u", "status", "origin"])
def test_a_coordinate_of_the_grid_is_kept_beside_the_output_of_its_name(name: str) -> None:
    radar = storm()
    values = xr.DataArray(np.arange(40.0), dims="x", attrs={"units": "1"})
    radar = radar.rename(time="t") if name == "time" else radar
    plain = radar.var4d.assimilate()
    analysis = radar.assign_coords({name: values}).var4d.assimilate()

    assert np.array_equal(analysis[f"{name}_of_input"], values)
    assert f"{name!r} as '{name}_of_input'" in str(analysis.var4d.summary())
    for variable in plain.data_vars:
        assert analysis[variable].dims == plain[variable].dims
        assert np.array_equal(analysis[variable], plain[variable], equal_nan=True)
    forecast = analysis.var4d.forecast("10min")
    assert forecast["rain"].dims == ("window", "lead_time", "y", "x")


def test_the_scalar_step_that_a_decoder_of_grib_adds() -> None:
    radar = storm().assign_coords(step=np.timedelta64(0, "ns"), heightAboveSea=500.0)
    analysis = radar.var4d.assimilate()
    assert analysis.sizes["step"] == 4
    assert analysis["step_of_input"] == np.timedelta64(0, "ns")
    assert analysis["heightAboveSea"] == 500.0


@pytest.mark.parametrize("name", ["u", "status", "cost", "growth", "origin", "step", "rmse"])
def test_a_variable_with_a_name_of_the_output_is_refused(name: str) -> None:
    raised(lambda: storm().rename(rain=name).var4d.assimilate(), "name-taken", variable=name, dimension=None)


@pytest.mark.parametrize("name", ["window", "step", "stage", "interval", "lead_time", "threshold"])
def test_a_dimension_of_the_grid_with_a_name_of_the_output_is_refused(name: str) -> None:
    radar = storm().rename(y=name)
    radar[name].attrs["axis"] = "Y"
    raised(radar.var4d.assimilate, "name-taken", variable="rain", dimension=name)
