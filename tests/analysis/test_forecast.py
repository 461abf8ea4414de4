"""Forecasts: their contract, and the same bits from a file as from memory."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.cf.strict import strict_cf
from tests.records import analysis, drifting, storm
from xvar.errors import InputError


def test_dimensions_coordinates_and_attributes() -> None:
    result = analysis().var4d.forecast("15min")
    assert result["rain"].dims == ("window", "lead_time", "y", "x")
    assert result["rain"].attrs["units"] == "0.01 mm (5 min)-1"
    minutes = np.timedelta64(1, "m")
    np.testing.assert_array_equal(result["lead_time"] / minutes, [5, 10, 15])
    assert result["lead_time"].attrs["standard_name"] == "forecast_period"
    assert result["time"].dims == ("window", "lead_time")
    np.testing.assert_array_equal(result["time"], result["forecast_reference_time"] + result["lead_time"])
    np.testing.assert_array_equal(result["forecast_reference_time"], analysis()["forecast_reference_time"])
    assert result["rain"].dtype == "float32"
    assert result["origin"].dtype == "int8"
    assert result["origin"].attrs["flag_meanings"] == "inside_domain last_frame"
    assert result["rain"].attrs["ancillary_variables"] == "origin"


def test_the_last_frame_stays_where_paths_come_from_outside() -> None:
    result = analysis().var4d.forecast("15min")
    last = analysis()["rain_observed"].expand_dims(lead_time=3, axis=1).values
    outside = result["origin"].values == 1
    assert 0.05 < outside.mean() < 0.9
    np.testing.assert_array_equal(result["rain"].values[outside], last[outside])


def test_a_drifting_pattern_is_carried_on() -> None:
    record = drifting((10.0, -5.0), frames=7)
    result = record.isel(time=slice(0, 4)).var4d.assimilate().var4d.forecast("6min")
    inner = {"y": slice(12, -12), "x": slice(12, -12)}
    truth = record["sst"].isel(time=slice(4, 7)).values
    error = (result["sst"][0] - truth).isel(**inner)
    kept = (record["sst"].isel(time=3).values - truth)[:, 12:-12, 12:-12]
    rmse = np.sqrt((error**2).mean(["y", "x"]))
    assert (rmse < 0.15 * np.sqrt((kept**2).mean(axis=(1, 2)))).all()


def test_rain_stays_dry_where_dry_air_comes_in() -> None:
    """What growth adds, and what holds its power, must not spread drizzle over dry land."""
    radar = xvar.datasets.sample()
    result = radar.isel(time=slice(0, 4)).var4d.assimilate().var4d.forecast("15min")
    for index, frame in enumerate(radar["rain"].values[4:]):
        dry = float((result["rain"][0, index] < 0.1 / 0.12).mean())
        assert dry > 0.8 * float((frame < 0.1 / 0.12).mean())


@pytest.mark.parametrize(
    "lead", ["15min", "00:15:00", datetime.timedelta(minutes=15), np.timedelta64(15, "m"), np.timedelta64(900, "s")]
)
def test_leads_may_be_written_in_several_ways(lead) -> None:
    small = storm().var4d.assimilate()
    assert small.var4d.forecast(lead).sizes["lead_time"] == 3


def test_one_cadence_to_the_horizon() -> None:
    small = storm().var4d.assimilate()
    fine = small.var4d.forecast("10min", every="150s")
    np.testing.assert_array_equal(fine["lead_time"] / np.timedelta64(1, "s"), [150, 300, 450, 600])
    fine, coarse = fine.isel(lead_time=[1, 3]), small.var4d.forecast("10min")
    # Where a path ends at the very edge, its rounding says whether it comes from outside.
    same = fine["origin"].values == coarse["origin"].values
    assert same.mean() > 0.995
    difference = (fine["rain"].values - coarse["rain"].values)[same]
    assert np.sqrt((difference**2).mean()) < 0.1
    assert small.var4d.forecast("17min").sizes["lead_time"] == 3


@pytest.mark.parametrize("form", ["netcdf", "h5netcdf", "zarr"])
def test_from_a_file_as_from_memory(tmp_path, form) -> None:
    memory = analysis().var4d.forecast("15min")
    if form == "zarr":
        pytest.importorskip("zarr")
        analysis().to_zarr(tmp_path / "analysis.zarr", consolidated=False)
        opened = xr.open_zarr(tmp_path / "analysis.zarr", consolidated=False)
    else:
        engine = {"netcdf": "netcdf4", "h5netcdf": "h5netcdf"}[form]
        if form == "h5netcdf":
            pytest.importorskip("h5py")
        analysis().to_netcdf(tmp_path / "analysis.nc", engine=engine)
        opened = xr.open_dataset(tmp_path / "analysis.nc")
    with opened as read:
        again = read.var4d.forecast("15min").compute()
    for name in ("rain", "origin"):
        np.testing.assert_array_equal(again[name], memory[name])
    xr.testing.assert_equal(again, memory)


def test_descending_rows_are_carried_the_right_way() -> None:
    record = storm()
    small = record.var4d.assimilate(dtype="float64").var4d.forecast("10min")
    turned = record.isel(y=slice(None, None, -1)).var4d.assimilate(dtype="float64").var4d.forecast("10min")
    np.testing.assert_allclose(turned["rain"].sel(y=small["y"]), small["rain"], atol=1e-8)


def test_input_stays_as_it_is() -> None:
    small = storm().var4d.assimilate()
    before = small.copy(deep=True)
    small.var4d.forecast("10min")
    xr.testing.assert_identical(small, before)


def test_the_file_is_strict_cf(tmp_path) -> None:
    analysis().var4d.forecast("15min").to_netcdf(tmp_path / "forecast.nc")
    status, words = strict_cf(tmp_path / "forecast.nc")
    assert status == 0, words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("soon",), "lead='soon'"),
        ((15,), "lead=15"),
        (("-5min",), "not positive"),
        (("1min",), "less than the 300 s"),
        (("15min", "often"), "every='often'"),
    ],
)
def test_leads_that_make_no_sense_are_refused(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        analysis().var4d.forecast(*arguments)


# ---- its parts, and what it is without them


def composed(last: np.ndarray, u: np.ndarray, v: np.ndarray, leads: int) -> tuple[np.ndarray, np.ndarray]:
    """The last image along displacements in pixels a frame that stay as they are, and where it comes from outside."""
    ndimage = pytest.importorskip("scipy.ndimage")
    motion, place = np.stack([v, u]).astype(float), np.indices(last.shape).astype(float)

    def at(field, where):
        return ndimage.map_coordinates(field, where, order=1, mode="nearest")

    images, outside = [], []
    for _ in range(leads):
        shift = np.stack([at(part, place) for part in motion])
        for _ in range(3):
            shift = np.stack([at(part, place - shift / 2) for part in motion])
        place = place - shift
        images.append(at(last.astype(float), place))
        outside.append(((place < 0) | (place > np.reshape(last.shape, (2, 1, 1)) - 1)).any(0))
    return np.stack(images), np.stack(outside)


def test_without_all_of_its_parts_it_is_the_last_image_along_the_steady_motion() -> None:
    result = analysis().var4d.forecast("15min", without=("transient", "growth", "power_limit"))
    found = analysis().isel(window=0)
    steady = [(found[name].isel(step=-1) - found[f"{name}_transient"]).values * 300 / 1200 for name in ("u", "v")]
    steady[1] = -steady[1]  # y descends along the rows
    images, outside = composed(found["rain_observed"].values, *steady, 3)
    assert ((result["origin"][0] == 1) == outside).mean() > 0.99
    inside = ~outside & (result["origin"][0] == 0).values
    error = (result["rain"][0].values - images)[inside]
    whole = (result["rain"][0].values - found["rain_observed"].values)[inside]
    # The paths are put together from others, interpolated, here step by step.
    assert np.sqrt((error**2).mean()) < 0.05 * np.sqrt((whole**2).mean())
    assert "without transient, without growth, without power_limit" in result.attrs["history"]


@pytest.mark.parametrize("part", ["transient", "growth", "power_limit"])
def test_each_part_changes_the_forecast_of_rain_and_nothing_else(part) -> None:
    whole, less = analysis().var4d.forecast("15min"), analysis().var4d.forecast("15min", without=part)
    assert not np.array_equal(whole["rain"], less["rain"])
    assert np.array_equal(whole["origin"], less["origin"]) == (part != "transient")
    assert list(whole.variables) == list(less.variables)
    assert whole["rain"].attrs == less["rain"].attrs


def test_where_a_part_is_nothing_it_can_be_left_out() -> None:
    """An analysis whose growth, or transient motion, is nothing: the forecast is the same without."""
    still = analysis()
    no_growth = still.assign(growth=0 * still["growth"])
    whole, less = (no_growth.var4d.forecast("15min", without=parts) for parts in ((), "growth"))
    # What holds the power goes through the spectrum and back.
    np.testing.assert_allclose(whole["rain"], less["rain"], atol=0.02 * float(whole["rain"].max()))
    free = no_growth.var4d.forecast("15min", without="power_limit")
    np.testing.assert_allclose(free["rain"], less["rain"], atol=1e-4 * float(whole["rain"].max()))
    names = ("u_transient", "v_transient")
    constant = still.assign({name: 0 * still[name] for name in names})
    one, other = (constant.var4d.forecast("15min", without=parts) for parts in ((), "transient"))
    np.testing.assert_array_equal(one["rain"], other["rain"])


def test_growth_of_a_translation_is_next_to_nothing() -> None:
    """Rain that only moves: with growth and without, the forecasts are the same but for a share of their error."""
    record = drifting((10.0, -5.0), frames=7).rename(sst="rain")
    values = (record["rain"] - record["rain"].mean()).clip(0) ** 2
    attrs = {"units": "mm h-1", "standard_name": "rainfall_rate"}
    record = record.assign(rain=values.astype("float32").assign_attrs(attrs))
    found = record.isel(time=slice(0, 4)).var4d.assimilate()
    inner = {"y": slice(12, -12), "x": slice(12, -12)}
    whole, less = (found.var4d.forecast("6min", without=parts)["rain"][0].isel(**inner) for parts in ((), "growth"))
    moved = record["rain"].isel(time=slice(4, 7), **inner).values - record["rain"].isel(time=3, **inner).values
    assert np.sqrt(((whole - less) ** 2).mean()) < 0.1 * np.sqrt((moved**2).mean())


def test_the_sea_has_no_part_that_could_be_left_out() -> None:
    found = drifting((10.0, -5.0)).var4d.assimilate()
    one, other = (found.var4d.forecast("4min", without=parts) for parts in ((), ("transient", "growth")))
    np.testing.assert_array_equal(one["sst"], other["sst"])


@pytest.mark.parametrize("without", ["everything", ("growth", "rain"), 3, None, (["growth"],)])
def test_what_is_no_part_cannot_be_left_out(without) -> None:
    with pytest.raises(InputError, match=r"without=.*expected parts of the forecast: transient, growth, power_limit"):
        analysis().var4d.forecast("15min", without=without)


def test_a_model_has_no_part_to_be_left_out() -> None:
    with pytest.raises(InputError, match="where a model goes on"):
        analysis().var4d.forecast("15min", dynamics="steady", without="growth")


def test_what_is_no_analysis_is_refused() -> None:
    with pytest.raises(InputError, match="expected an analysis"):
        storm().var4d.forecast("15min")


def test_real_files_give_strict_cf(shared_data, tmp_path) -> None:
    """One on latitude and longitude with missing values, amounts of 5 minutes."""
    with xr.open_dataset(shared_data / "radar-meteonet_rain_NW_20160828_1000.nc") as whole:
        record = whole.isel(time=slice(0, 6), lat=slice(150, 250), lon=slice(150, 260)).load()
    first = record.isel(time=slice(0, 4)).var4d.assimilate()
    outputs = {"analysis": first, "forecast": first.var4d.forecast("10min")}
    outputs["scores"] = outputs["forecast"].var4d.verify(record)
    outputs["series"] = first.var4d.series()
    for name, output in outputs.items():
        output.to_netcdf(tmp_path / f"{name}.nc")
        status, words = strict_cf(tmp_path / f"{name}.nc")
        assert status == 0, f"{name}: {words}"
    assert "eastward" in first["u"].attrs["long_name"]
