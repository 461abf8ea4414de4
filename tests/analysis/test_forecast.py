"""Forecasts: their contract, and the same bits from a file as from memory."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.cf.strict import strict_cf
from tests.faults.codes import codes
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
    """Neither growth nor the power limit spreads drizzle over dry land."""
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
    ("arguments", "options", "expected"),
    [
        (("1min",), {}, ["lead-too-short"]),
        (("365D",), {}, ["lead-too-long"]),
        (("15min",), {"kind": "average"}, ["unknown-choice"]),
        (("15min",), {"kind": "mean", "members": 20}, ["members-of-mean"]),
        (("15min",), {"members": 1}, ["members-invalid"]),
        (("15min",), {"members": "many"}, ["members-invalid"]),
        (("15min",), {"members": 2, "seed": -1}, ["seed-invalid"]),
        (("15min",), {"seed": 1}, ["seed-without-members"]),
        (("15min",), {"dynamics": "steady", "without": "growth"}, ["option-of-images"]),
        (("15min",), {"dynamics": "steady", "members": 3}, ["option-of-images"]),
        (("15min",), {"dynamics": "steady", "kind": "mean"}, ["option-of-images"]),
        (("365D",), {"dynamics": "steady"}, ["lead-too-long"]),
        (("15min",), {"dynamics": "unknown"}, ["model-not-stated"]),
    ],
)
def test_options_without_a_meaning_are_refused(arguments, options, expected) -> None:
    with pytest.raises(InputError) as error:
        analysis().var4d.forecast(*arguments, **options)
    assert codes(error.value) == expected


@pytest.mark.parametrize(
    ("arguments", "option"), [(("soon",), "lead"), ((15,), "lead"), (("-5min",), "lead"), (("15min", "often"), "every")]
)
def test_durations_are_read_with_their_option(arguments, option) -> None:
    with pytest.raises(InputError) as error:
        analysis().var4d.forecast(*arguments)
    assert error.value.faults[0].found.startswith(f"{option}=")


@pytest.mark.parametrize("options", [{"kind": "mean"}, {"members": 3}])
def test_other_variables_than_rain_have_one_sharp_forecast(options) -> None:
    with pytest.raises(InputError) as error:
        drifting().var4d.assimilate().var4d.forecast("4min", **options)
    assert codes(error.value) == ["of-rain-alone"]
    assert error.value.faults[0].variable == "sst"


@pytest.mark.parametrize("name", ["rain_observed", "u", "u_transient", "growth", "image_scale"])
def test_an_analysis_without_a_variable_of_its_method_is_refused(name) -> None:
    with pytest.raises(InputError) as error:
        analysis().drop_vars(name).var4d.forecast("15min")
    assert codes(error.value) in (["variable-missing"], ["not-an-analysis"])
    assert codes(error.value) == ["not-an-analysis"] or error.value.faults[0].variable == name


@pytest.mark.parametrize("lazy", [False, True])
def test_a_converged_window_without_a_motion_is_refused(lazy) -> None:
    lost = analysis().copy()
    lost["u"] = lost["u"].where(xr.DataArray([True, False], dims="window"))
    forecast = (lost.chunk(window=1) if lazy else lost).var4d
    with pytest.raises(InputError) as error:
        forecast.forecast("15min").compute()
    assert codes(error.value) == ["no-velocity"]
    assert error.value.faults[0].index == "window 1"


def test_one_selected_window_is_enough() -> None:
    one = analysis().isel(window=1).var4d.forecast("10min", members=2)
    same = analysis().isel(window=[1]).var4d.forecast("10min", members=2)
    xr.testing.assert_equal(one, same)


def test_a_window_of_fewer_frames_continues_from_its_last_one() -> None:
    """A record of six frames in windows of four, the rest kept: the second window has three frames."""
    record = storm(frames=6)
    found = record.var4d.assimilate(window=4, partial="keep")
    assert found["time"].isnull().any(), "the second window has fewer frames"
    alone = record.isel(time=slice(3, 6)).var4d.assimilate()
    one, other = (part.var4d.forecast("10min") for part in (found.isel(window=[1]), alone))
    np.testing.assert_array_equal(one["rain"], other["rain"])


# ---- the forecast of least error


def test_the_mean_forecast_has_its_power_neither_limited_nor_restored_and_damped_waves() -> None:
    fft = pytest.importorskip("scipy.fft")
    free = analysis().var4d.forecast("15min", without=("power_limit", "short_waves"))
    mean = analysis().var4d.forecast("15min", kind="mean")
    assert mean.attrs["forecast_kind"] == "mean"
    assert free.attrs["forecast_kind"] == "sharp"
    wavenumber = np.hypot(*np.meshgrid(*[np.arange(128) / (2 * 128 * 1.2)] * 2, indexing="ij"))  # cycles per km
    for index, minutes in enumerate((5, 10, 15)):
        spectrum = fft.dctn(free["rain"][0, index].values.astype(float), norm="ortho")
        expected = fft.idctn(spectrum * np.exp(-minutes / 30 * 24 * wavenumber), norm="ortho").clip(0)
        dry = free["rain"][0, index].values < 0.5 * float(analysis()["image_scale"][0])
        assert 0.1 < dry.mean() < 0.9
        expected = np.where(dry, 0.5, 1.0) * expected
        np.testing.assert_allclose(mean["rain"][0, index], expected, atol=1e-4 * float(expected.max()))


def test_the_mean_forecast_has_the_lesser_error() -> None:
    radar = xvar.datasets.sample()
    found = radar.isel(time=slice(0, 4)).var4d.assimilate()
    sharp, mean = (found.var4d.forecast("15min", kind=kind).var4d.verify(radar)["rmse"] for kind in ("sharp", "mean"))
    assert (mean < 0.95 * sharp).all()


# ---- ensembles


def test_members_are_the_same_for_a_seed_alone_in_a_batch_lazily_and_from_a_file(tmp_path) -> None:
    both = analysis().var4d.forecast("10min", members=3, seed=5)
    assert both["rain"].dims == ("window", "member", "lead_time", "y", "x")
    assert both["origin"].dims == ("window", "lead_time", "y", "x")
    assert both["member"].attrs["standard_name"] == "realization"
    assert both.attrs["forecast_seed"] == 5
    alone = analysis().isel(window=[1]).var4d.forecast("10min", members=3, seed=5)
    np.testing.assert_array_equal(alone["rain"][0], both["rain"][1])
    analysis().to_netcdf(tmp_path / "analysis.nc")
    with xr.open_dataset(tmp_path / "analysis.nc", chunks={"window": 1}) as lazy:
        result = lazy.var4d.forecast("10min", members=3, seed=5)
        assert result["rain"].chunks is not None
        np.testing.assert_array_equal(result["rain"], both["rain"])
    more = analysis().var4d.forecast("10min", members=4, seed=5)
    np.testing.assert_array_equal(more["rain"][:, :3], both["rain"])
    other = analysis().var4d.forecast("10min", members=3, seed=6)
    assert not np.array_equal(other["rain"], both["rain"])
    assert not np.array_equal(both["rain"][0], both["rain"][1])


def test_members_are_about_the_sharp_forecast_and_as_dry() -> None:
    sharp = analysis().var4d.forecast("15min")["rain"]
    members = analysis().var4d.forecast("15min", members=8)["rain"]
    assert float(members.min()) == 0.0
    wet = (members > 0).mean(["y", "x"]) / (sharp > 0).mean(["y", "x"])
    assert (wet <= 1).all()
    assert (wet > 0.9).all()
    total = members.mean(["member", "y", "x"]) / sharp.mean(["y", "x"])
    assert (abs(total - 1) < 0.2).all()
    spread = members.std("member").mean(["y", "x"])
    assert spread[0, -1] > 1.1 * spread[0, 0]


def test_an_ensemble_is_better_than_its_forecast() -> None:
    """The CRPS against the mean absolute error, of which it is the generalisation."""
    radar = xvar.datasets.sample()
    found = radar.isel(time=slice(0, 4)).var4d.assimilate()
    truth = radar["rain"].isel(time=slice(4, 7)).values
    members, one = found.var4d.forecast("15min", members=10)["rain"][0].values, found.var4d.forecast("15min")["rain"][0]
    pairs = abs(members[:, None] - members).mean((0, 1))
    crps = (abs(members - truth).mean(0) - 0.5 * pairs).mean((1, 2))
    assert (crps < np.array([0.95, 0.85, 0.8]) * abs(one - truth).mean(["y", "x"]).values).all()


def test_the_file_of_an_ensemble_is_strict_cf(tmp_path) -> None:
    analysis().var4d.forecast("10min", members=2).to_netcdf(tmp_path / "members.nc")
    status, words = strict_cf(tmp_path / "members.nc")
    assert status == 0, words


# ---- parts of the forecast


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
    result = analysis().var4d.forecast("15min", without=("transient", "growth", "power_limit", "short_waves"))
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
    assert "without transient, without growth, without power_limit, without short_waves" in result.attrs["history"]


@pytest.mark.parametrize("part", ["transient", "growth", "power_limit", "short_waves"])
def test_each_part_changes_the_forecast_of_rain_and_nothing_else(part) -> None:
    whole, less = analysis().var4d.forecast("15min"), analysis().var4d.forecast("15min", without=part)
    assert not np.array_equal(whole["rain"], less["rain"])
    assert np.array_equal(whole["origin"], less["origin"]) == (part != "transient")
    assert list(whole.variables) == list(less.variables)
    assert whole["rain"].attrs == less["rain"].attrs


def test_rain_whose_motion_explains_little_stays_in_its_place() -> None:
    parts = ("transient", "growth", "power_limit", "short_waves")
    poor = analysis().assign(motion_skill=0 * analysis()["motion_skill"] + 0.1)
    still = poor.var4d.forecast("15min", without=parts)["rain"]
    np.testing.assert_allclose(still.isel(lead_time=-1), poor["rain_observed"], rtol=1e-4, atol=1e-3)
    moving = [one.var4d.forecast("15min", without=(*parts, "motion_fading"))["rain"] for one in (poor, analysis())]
    np.testing.assert_array_equal(*moving)
    old = analysis().drop_vars("motion_skill").var4d.forecast("15min")  # as version 0.1 wrote them
    np.testing.assert_array_equal(old["rain"], analysis().var4d.forecast("15min")["rain"])
    assert (analysis()["motion_skill"] > 0.35).all()


def test_leaving_out_a_part_of_zero_has_no_effect() -> None:
    """With zero growth, or zero transient motion, the forecast is the same without it."""
    still = analysis()
    no_growth = still.assign(growth=0 * still["growth"])
    whole, less = (no_growth.var4d.forecast("15min", without=parts) for parts in ((), "growth"))
    # The power limit transforms to the spectrum and back.
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


def test_leaving_out_a_part_has_no_effect_on_the_sea() -> None:
    found = drifting((10.0, -5.0)).var4d.assimilate()
    one, other = (found.var4d.forecast("4min", without=parts) for parts in ((), ("transient", "growth")))
    np.testing.assert_array_equal(one["sst"], other["sst"])


@pytest.mark.parametrize("without", ["everything", ("growth", "rain"), 3, None, (["growth"],)])
def test_unknown_parts_are_refused(without) -> None:
    with pytest.raises(InputError) as error:
        analysis().var4d.forecast("15min", without=without)
    assert codes(error.value) == ["part-unknown"]


def test_a_record_is_no_analysis() -> None:
    with pytest.raises(InputError) as error:
        storm().var4d.forecast("15min")
    assert codes(error.value) == ["not-an-analysis"]


@pytest.mark.long
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
