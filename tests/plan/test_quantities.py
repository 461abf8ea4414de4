"""Arrays that carry their units, as pint-xarray makes them: in, through every call, and out again."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.faults.images import rainy, small, warm
from xvar.cf.units import spelled, without_quantities

pytest.importorskip("pint_xarray")
pytest.importorskip("cf_xarray.units")  # teaches pint the units of CF, such as m s-1


def first_four(record: xr.Dataset) -> xr.Dataset:
    return record.isel(time=slice(0, 4))


def test_in_and_out() -> None:
    quantified = rainy(7).pint.quantify()
    before = quantified.copy(deep=True)
    analysis = first_four(quantified).var4d.assimilate()
    expected = first_four(rainy(7)).var4d.assimilate()
    xr.testing.assert_equal(analysis, expected)
    xr.testing.assert_identical(quantified, before)
    out = analysis.pint.quantify()
    assert str(out["u"].data.units) == "meter / second"
    assert str(out["rain"].data.units) == "millimeter / hour"
    np.testing.assert_array_equal(out["u"].data.magnitude, expected["u"])
    # What came out goes on.
    forecast = out.var4d.forecast("10min")
    xr.testing.assert_equal(forecast, expected.var4d.forecast("10min"))
    scores = forecast.pint.quantify().var4d.verify(quantified)
    xr.testing.assert_equal(scores, expected.var4d.forecast("10min").var4d.verify(rainy(7)))
    assert str(out.var4d.summary()) == str(analysis.var4d.summary())
    assert out.var4d.series().sizes["time"] == 4


def test_units_are_converted_by_their_quantity() -> None:
    kelvin = warm().pint.quantify().pint.to({"sst": "kelvin"})
    assert kelvin.var4d.assimilate()["sst"].attrs["units"] == "K"
    np.testing.assert_allclose(kelvin.var4d.assimilate()["u"], warm().var4d.assimilate()["u"], atol=0.05)
    metres = warm()
    for dim in ("y", "x"):
        metres = metres.assign_coords({dim: (dim, metres[dim].values / 1e3, {**metres[dim].attrs, "units": "km"})})
    result, expected = metres.pint.quantify().var4d.assimilate(), warm().var4d.assimilate()
    np.testing.assert_allclose(result["u"], expected["u"], atol=1e-3)


def test_lazy_quantities_stay_lazy() -> None:
    quantified = warm().chunk(time=1).pint.quantify()
    assert without_quantities(quantified)["sst"].chunks is not None
    lazy = quantified.var4d.assimilate()
    assert lazy["u"].chunks is not None
    np.testing.assert_array_equal(lazy["u"], warm().var4d.assimilate()["u"])


@small
def test_a_background_and_a_reflectivity_with_units() -> None:
    background = warm()["sst"].isel(time=0, drop=True).to_dataset()
    quantified = warm().var4d.assimilate(dynamics="advection", background=background.pint.quantify())
    plain = warm().var4d.assimilate(dynamics="advection", background=background)
    np.testing.assert_array_equal(quantified["u"], plain["u"])
    echo = xr.DataArray([23.0, 40.0], dims="x", attrs={"units": "dBZ"}, name="echo")
    flux = xr.DataArray([1.0, 2.0], dims="x", attrs={"units": "g m-2 s-1"}, name="flux")
    np.testing.assert_allclose(xvar.rain_rate(flux.pint.quantify(), convert="liquid_water"), [3.6, 7.2])
    assert float(xvar.rain_rate(echo)[0]) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("pint", "written"),
    [("dimensionless", "1"), ("meter ** 2 / second", "meter^2 / second"), ("millimeter / hour", "millimeter / hour")],
)
def test_units_of_pint_as_udunits_reads_them(pint, written) -> None:
    assert spelled(pint) == written
