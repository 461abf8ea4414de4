"""Probabilities, quantiles and accumulations of an ensemble, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.analysis.test_verify import make_forecast, refused
from tests.cf.strict import strict_cf

MEMBERS = 5


@pytest.fixture
def ensemble() -> xr.Dataset:
    values = np.random.default_rng(0).gamma(0.5, 4, (2, MEMBERS, 3, 6, 7)).astype("float32")
    values[0, :, 0, 0, 0] = np.nan
    values[0, 0, 1, 2, 2] = 5.0
    forecast = make_forecast(values[:, 0])
    forecast["rain"] = (("window", "member", "lead_time", "y", "x"), values, {"units": "mm h-1"})
    return forecast.assign_coords(member=("member", np.arange(MEMBERS), {"standard_name": "realization", "units": "1"}))


def test_a_probability_is_the_share_of_members_at_or_above_the_threshold(ensemble) -> None:
    result = ensemble.var4d.probability(above=5)["probability_of_rain_above_threshold"]
    expected = (ensemble["rain"].values >= 5).mean(axis=1)
    expected[0, 0, 0, 0] = np.nan
    assert result.dims == ("window", "lead_time", "y", "x")
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert float(result["threshold"]) == 5
    assert result["threshold"].attrs["units"] == "mm h-1"
    several = ensemble.var4d.probability(above=[1, 5])["probability_of_rain_above_threshold"]
    assert several.dims[0] == "threshold"
    np.testing.assert_array_equal(several.sel(threshold=5), result)


def test_thresholds_of_amounts_are_rates(ensemble) -> None:
    amounts = ensemble.copy()
    amounts["rain"] = (ensemble["rain"] / 12).assign_attrs(units="mm")  # in 5 minutes
    one, other = (data.var4d.probability(above=[0.5, 2]) for data in (ensemble, amounts))
    name = "probability_of_rain_above_threshold"
    assert float(abs(one[name] - other[name]).mean()) < 1e-3  # rounding decides for a value at the threshold
    assert other["threshold"].attrs["units"] == "mm h-1"


def test_quantiles_are_those_of_the_members(ensemble) -> None:
    result = ensemble.var4d.quantiles([0.25, 0.5])["rain"]
    assert result.dims == ("quantile", "window", "lead_time", "y", "x")
    expected = np.quantile(ensemble["rain"].values, [0.25, 0.5], axis=1)
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    assert result.attrs["units"] == "mm h-1"


def test_an_accumulation_is_the_sum_of_rain_since_the_end_of_the_window(ensemble) -> None:
    result = ensemble.var4d.accumulation()["rain_accumulation"]
    assert result.dims == ensemble["rain"].dims
    np.testing.assert_allclose(result, np.cumsum(ensemble["rain"].values, axis=2) * 5 / 60, rtol=1e-5)
    assert result.attrs["units"] == "mm"
    uneven = ensemble.isel(lead_time=[0, 2]).var4d.accumulation()["rain_accumulation"]
    rain = ensemble["rain"].values
    np.testing.assert_allclose(uneven[:, :, 1], (rain[:, :, 0] * 5 + rain[:, :, 2] * 10) / 60, rtol=1e-5)
    above = ensemble.var4d.accumulation().var4d.probability(above=0.5)
    expected = (result >= 0.5).mean("member").where(result.notnull().all("member"))
    np.testing.assert_allclose(above["probability_of_rain_accumulation_above_threshold"], expected, rtol=1e-6)
    assert above["threshold"].attrs["units"] == "mm"


def test_products_are_lazy_if_the_forecast_is_and_strict_cf(ensemble, tmp_path) -> None:
    lazy = ensemble.chunk(window=1)
    for name, call in {
        "probability": lambda data: data.var4d.probability(above=5),
        "quantiles": lambda data: data.var4d.quantiles(),
        "accumulation": lambda data: data.var4d.accumulation(),
    }.items():
        product, eager = call(lazy), call(ensemble)
        assert all(part.chunks for part in product.data_vars.values())
        xr.testing.assert_equal(product.compute(), eager)
        eager.to_netcdf(tmp_path / f"{name}.nc")
        status, words = strict_cf(tmp_path / f"{name}.nc")
        assert status == 0, words


def test_other_inputs_than_members_are_refused(ensemble) -> None:
    one = ensemble.isel(member=0, drop=True)
    with refused("members-missing"):
        one.var4d.probability(above=5)
    with refused("members-missing"):
        one.var4d.quantiles()
    with refused("not-a-forecast"):
        ensemble.assign_attrs(xvar_configuration="").drop_attrs().var4d.probability(above=5)
    with refused("thresholds-invalid"):
        ensemble.var4d.probability(above="much")
    with refused("levels-invalid"):
        ensemble.var4d.quantiles([2])
    sea = make_forecast(np.ones((1, 1, 4, 4)), units="K", name="sst", kind="temperature")
    with refused("rain-without-rate"):
        sea.var4d.accumulation()
