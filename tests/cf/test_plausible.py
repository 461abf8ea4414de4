"""Metadata that contradict one another are a fault; unusual ones are a warning; packing makes no negative rain."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar.check
from tests.faults.codes import raised
from tests.records import storm
from xvar.cf.plausible import without_packing_error
from xvar.errors import InputWarning


def rates(most: float = 20.0, step: float = 1000.0, **attrs: str) -> xr.Dataset:
    """A storm in mm h-1, of some heaviest rain and distance between pixels."""
    record = storm()
    rain = record["rain"]
    attrs = {"units": "mm h-1", "standard_name": "rainfall_rate", **attrs}
    axes = {dim: (dim, step * np.arange(record.sizes[dim]), {"units": "m"}) for dim in ("y", "x")}
    return (rain / rain.max() * most).assign_attrs(attrs).to_dataset(name="rain").assign_coords(axes)


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("rainfall_rate", "K"),
        ("rainfall_rate", "dBZ"),
        ("equivalent_reflectivity_factor", "mm h-1"),
        ("sea_surface_temperature", "mm h-1"),
    ],
)
def test_units_of_another_quantity_than_the_name_says_are_a_fault(name, units) -> None:
    record = rates(units=units, standard_name=name)
    raised(lambda: xvar.check.describe(record), "units-of-other-quantity", variable="rain")


def test_units_of_no_known_quantity_are_none_of_another() -> None:
    assert xvar.check.describe(rates(units="1", standard_name="probability_of_precipitation"))["kind"] == "other"


def test_rain_that_cannot_be_is_said_aloud() -> None:
    with pytest.warns(InputWarning, match="2000 mm h-1"):
        xvar.check.describe(rates(2000.0))
    xvar.check.describe(rates(300.0))


def test_kilometres_that_are_called_metres_are_said_aloud() -> None:
    with pytest.warns(InputWarning, match="1 m apart"):
        xvar.check.describe(rates(step=1.0))
    xvar.check.describe(rates(step=50.0))


def packed(values: np.ndarray, *, dtype: str = "int16", scale: float = 0.1) -> xr.DataArray:
    array = xr.DataArray(values, dims=("time", "y", "x"), attrs={"units": "mm h-1"})
    array.encoding = {"dtype": dtype, "scale_factor": scale}
    return array


def test_negative_values_within_the_packing_error_are_zero() -> None:
    values = np.array([[[-0.05, -0.02, 0.0, 3.0]]], dtype="float32")
    notes: list[str] = []
    result = without_packing_error(packed(values), "rain", packed(values), notes)
    np.testing.assert_array_equal(result.values, [[[0.0, 0.0, 0.0, np.float32(3.0)]]])
    assert "2 negative values" in notes[0]
    assert result.attrs == {"units": "mm h-1"}
    lazy = packed(values).chunk()
    np.testing.assert_array_equal(without_packing_error(lazy, "rain", packed(values), []), result)


@pytest.mark.parametrize(("least", "what"), [(-0.06, "rain"), (-0.02, "reflectivity")])
def test_other_negative_values_stay(least, what) -> None:
    values = np.array([[[least, 1.0]]], dtype="float32")
    notes: list[str] = []
    np.testing.assert_array_equal(without_packing_error(packed(values), what, packed(values), notes), values)
    assert not notes


def test_a_record_with_rounded_zeros_is_analysed(tmp_path) -> None:
    """Zero is stored as the nearest code, -0.04 here, and one of -1 is refused as before."""
    record = rates()
    record["rain"][:, :3, :3] = 0.0
    offset = {"dtype": "int16", "scale_factor": 0.1, "add_offset": 5.06, "_FillValue": -32768}
    record.to_netcdf(tmp_path / "packed.nc", encoding={"rain": offset})
    with xr.open_dataset(tmp_path / "packed.nc") as opened:
        assert float(opened["rain"].min()) == pytest.approx(-0.04, abs=1e-6)
        facts = xvar.check.describe(opened)
    assert any("within the packing error" in note for note in facts["notes"])
    record["rain"][0, 5, 5] = -1.0
    raised(record.var4d.assimilate, "negative-rain")
