"""Currents from images of sea temperature through the public call: what comes out, and what must not change it."""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.cf.strict import strict_cf
from tests.faults.codes import codes
from xvar.covariance import Matern
from xvar.errors import AnalysisWarning, InputError

# Few evaluations are allowed: what was found by then is judged here, not whether more would be found.
pytestmark = pytest.mark.filterwarnings(f"ignore::{AnalysisWarning.__module__}.{AnalysisWarning.__name__}")

HOUR = np.timedelta64(3600, "s")
SIZE = 48
SEA = (slice(6, -6), slice(6, -6))


def eddies(frames: int = 7, size: int = SIZE, cell: float = 1000.0) -> xr.Dataset:
    """True currents that accelerate: two eddies, whose speed doubles in three hours, in a mean current."""
    y, x = np.meshgrid(np.arange(size) * cell, np.arange(size) * cell, indexing="ij")
    k = 2 * np.pi / (size * cell)
    growth = 0.5 + 0.5 * np.arange(frames)[:, None, None] / 3
    u, v = 0.1 + 0.25 * np.sin(k * y) * growth, 0.25 * np.sin(k * x + 1) * growth
    dims = ("time", "y", "x")
    metres = {"units": "m", "standard_name": "projection_{}_coordinate"}
    return xr.Dataset(
        {"u": (dims, u, {"units": "m s-1"}), "v": (dims, v, {"units": "m s-1"})},
        {
            "time": np.datetime64("2020-01-01", "ns") + np.arange(frames) * HOUR,
            **{
                name: (name, values, {key: text.format(name) for key, text in metres.items()})
                for name, values in (("y", y[:, 0]), ("x", x[0]))
            },
        },
    )


@functools.lru_cache
def made(frames: int = 4) -> xr.Dataset:
    """A twin of them, the images exact to 2^-12 K."""
    twin = xvar.datasets.twin(eddies(frames), noise=0.02, seed=1)
    twin["temperature"] = twin["temperature"].copy(data=np.round(twin["temperature"].values * 4096) / 4096)
    return twin


def record(frames: int = 4) -> xr.Dataset:
    """Images alone, to be changed."""
    return made(frames)[["temperature"]].copy(deep=True)


@functools.lru_cache
def found(constraint: str = "weak", dtype: str = "float32") -> xr.Dataset:
    """The analysis of the whole twin; not to be changed."""
    return record().var4d.assimilate(constraint=constraint, dtype=dtype)


def holed() -> xr.Dataset:
    """A coast in the south-west, and clouds that come and go."""
    sea = record()
    sea["temperature"][:, :14, :12] = np.nan
    sea["temperature"][0, 20:34, 10:24] = np.nan
    sea["temperature"][-1, 30:40, 28:40] = np.nan
    return sea


def error(analysis: xr.Dataset, step: int = -1) -> float:
    """Mean length of the difference to the true currents, m/s, 6 points from the edges."""
    truth = made()
    parts = [(analysis[name].isel(window=0, step=step) - truth[name].isel(time=step)).values[SEA] for name in "uv"]
    return float(np.nanmean(np.hypot(*parts)))


def same(one: xr.Dataset, other: xr.Dataset, names: tuple[str, ...] = ("u", "v", "source", "cost")) -> None:
    for name in names:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)


# ---- what comes out


@pytest.mark.parametrize("constraint", ["weak", "strong"])
def test_the_currents_are_found(constraint: str) -> None:
    truth = made().isel(time=-1)
    rest = float(np.hypot(truth["u"], truth["v"]).values[SEA].mean())
    assert error(found(constraint)) < (0.25 if constraint == "weak" else 0.6) * rest
    assert set(found(constraint)["status"].values) <= {1, 2}


def test_currents_that_accelerate_need_the_weak_constraint() -> None:
    """At the end of the window it must be a quarter better at least."""
    assert error(found("weak")) < 0.75 * error(found("strong"))


def test_outputs_and_their_units() -> None:
    weak, strong = found("weak"), found("strong")
    for name in ("u_forcing", "v_forcing"):
        assert weak[name].dims == ("window", "interval", "y", "x")
        assert weak[name].shape == (1, 3, SIZE, SIZE)
        assert weak[name].attrs["units"] == "m s-2"
        assert "units_metadata" not in weak[name].attrs
        assert name not in strong
    np.testing.assert_array_equal(weak["forcing_time"].values[0], made()["time"].values[:3] + HOUR // 2)
    for result in (weak, strong):
        assert result["source"].dims == ("window", "y", "x")
        assert result["source"].attrs["units"] == "K s-1"
        assert result["u"].attrs["units"] == "m s-1"
        assert result["u"].attrs["standard_name"] == "surface_sea_water_x_velocity"
    # the forcing is the change of the motion
    change = weak["u"].diff("step").values / 3600.0
    np.testing.assert_allclose(change, weak["u_forcing"].values, atol=2e-10)
    assert float(abs(weak["u_forcing"]).max()) * 3600 > 0.02
    # and the strong constraint has none
    np.testing.assert_array_equal(strong["u"][:, 0], strong["u"][:, -1])


def test_terms_of_the_cost() -> None:
    weak, strong = found("weak"), found("strong")
    terms = ("cost_background", "cost_model_error", "cost_observation")
    np.testing.assert_allclose(sum(weak[name] for name in terms), weak["cost"], rtol=1e-6)
    assert (weak["cost_model_error"][:, 0] == 0).all()
    assert (weak["cost_model_error"][:, 1] > 0).all()
    assert "cost_model_error" not in strong
    assert (weak["cost"][:, 1] < weak["cost"][:, 0]).all()


def test_what_was_chosen_is_written_down() -> None:
    for constraint in ("weak", "strong"):
        configuration = json.loads(found(constraint).attrs["xvar_configuration"])
        assert configuration["kelvin"] == 1.0
        assert configuration["model_error"] is (constraint == "weak")


def test_outputs_are_strict_cf(tmp_path) -> None:
    holed().var4d.assimilate(constraint="weak", land="never_valid").to_netcdf(tmp_path / "currents.nc")
    status, words = strict_cf(tmp_path / "currents.nc")
    assert status == 0, words


def test_scores_against_the_true_currents() -> None:
    scores = found().var4d.verify(made())
    assert float(scores["end_point_error"][-1]) < 0.1
    assert float(scores["vector_correlation"][-1]) > 0.9
    assert float(scores["angular_error"][-1]) < 30


# ---- heating


def test_heating_is_a_source() -> None:
    """0.04 K an hour over all of the sea: K s-1 in the result, and no other currents."""
    sea = record()
    sea["temperature"] = sea["temperature"] + 0.04 * xr.DataArray(np.arange(4), dims="time")
    sea["temperature"].attrs = record()["temperature"].attrs
    sea["temperature"] = sea["temperature"].astype("float32")
    warm = sea.var4d.assimilate(constraint="weak")
    difference = float(3600 * (warm["source"] - found()["source"]).mean())
    assert difference == pytest.approx(0.04, rel=0.4)
    assert error(warm) < error(found()) + 0.02


# ---- units


@pytest.mark.parametrize("units", ["degC", "degree_C", "celsius"])
def test_names_of_the_units_change_no_bit(units: str) -> None:
    sea = record()
    sea["temperature"].attrs["units"] = units
    same(sea.var4d.assimilate(constraint="weak"), found())


def test_kelvin_are_celsius_from_another_zero() -> None:
    """The same bits: what tells them apart is taken off in double precision. What is given back is in kelvin."""
    sea = record()
    sea["temperature"] = sea["temperature"].copy(data=sea["temperature"].values.astype("float64") + 273.15)
    sea["temperature"].attrs["units"] = "K"
    result = sea.var4d.assimilate(constraint="weak")
    same(result, found())
    np.testing.assert_array_equal(result["temperature_observed"][0], sea["temperature"][-1].astype("float32"))
    np.testing.assert_allclose(result["temperature"] - 273.15, found()["temperature"], atol=4e-5)


def test_fahrenheit_gives_the_same_currents() -> None:
    sea = record()
    sea["temperature"] = sea["temperature"].copy(data=sea["temperature"].values.astype("float64") * 1.8 + 32)
    sea["temperature"].attrs["units"] = "degree_Fahrenheit"
    result, expected = sea.var4d.assimilate(constraint="weak", dtype="float64"), found(dtype="float64")
    for name in "uv":
        assert float(abs(result[name] - expected[name]).max()) < 1e-3
    assert result["u"].attrs["units"] == "m s-1"
    np.testing.assert_allclose(result["source"], 1.8 * expected["source"], atol=1e-7)


# ---- land and clouds


def test_there_are_no_currents_on_land() -> None:
    result = holed().var4d.assimilate(constraint="weak", land="never_valid")
    land = np.zeros((SIZE, SIZE), dtype=bool)
    land[:14, :12] = True
    for name in ("u", "v", "u_forcing", "v_forcing", "source", "temperature"):
        assert np.isnan(result[name].values[..., land]).all(), name
        assert np.isfinite(result[name].values[..., ~land]).all() or name == "temperature", name
    assert error(result) < error(found()) + 0.03


def test_nothing_comes_from_land() -> None:
    """Whatever stands on land, masked or not a number, changes no bit of the sea."""
    land = xr.DataArray(np.zeros((SIZE, SIZE), dtype=bool), dims=("y", "x"))
    land[:14, :12] = True
    results = []
    for filling in (np.nan, 0.0, 35.0):
        sea = holed()
        sea["temperature"][:, :14, :12] = filling
        results.append(sea.var4d.assimilate(constraint="weak", land=land))
    for other in results[1:]:
        same(other, results[0], ("u", "v", "source", "u_forcing", "cost", "number_of_observations"))


@functools.lru_cache
def beside_a_wall() -> xr.Dataset:
    """Images that a current carries along a coast in the west, as fast at the coast as anywhere."""
    truth = eddies(4)
    x = truth["x"] - 12e3
    truth["u"][:] = 0
    truth["v"][:] = 0.3 * np.cos(2 * np.pi * x / 30e3)
    twin = xvar.datasets.twin(truth, noise=0.05, clouds=0.3, seed=2)
    return twin.assign(u_true=truth["u"].isel(time=-1), v_true=truth["v"].isel(time=-1)).where(truth["x"] > 11.5e3)


def test_no_flow_through_a_coast_where_it_is_asked_for(tmp_path: pathlib.Path) -> None:
    sea = beside_a_wall()
    results = {
        coast: sea.var4d.assimilate("temperature", constraint="weak", coast=coast, land="never_valid")
        for coast in ("free", "no_flow")
    }
    beside = {"x": slice(12e3, 13e3)}  # two cells
    across, error = {}, {}
    for coast, result in results.items():
        last = result.isel(window=0, step=-1)
        across[coast] = float(np.abs(last["u"].sel(beside)).mean())
        error[coast] = float(
            np.hypot(last["u"] - sea["u_true"], last["v"] - sea["v_true"]).sel(x=slice(12e3, 16e3)).mean()
        )
        assert np.isnan(last["u"].sel(x=slice(0, 11e3))).all()
        assert json.loads(result.attrs["xvar_configuration"])["coast"] == coast
    # The cells are half a cell and one and a half from the coast, where the flow is none.
    assert across["no_flow"] < 0.5 * across["free"]
    assert error["no_flow"] < 0.95 * error["free"]
    results["no_flow"].to_netcdf(tmp_path / "a.nc")
    code, words = strict_cf(tmp_path / "a.nc")
    assert code == 0, words


def test_where_there_is_no_coast_there_is_nothing_to_close() -> None:
    sea = record()
    closed = sea.var4d.assimilate(coast="no_flow")
    same(closed, sea.var4d.assimilate(), ("u", "v", "cost"))
    assert "no coast to close" in closed.attrs["xvar_configuration"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"coast": "closed"}, "option-value"),
        ({"coast": "no_flow", "dynamics": "advection"}, "option-misplaced"),
        ({"coast": "no_flow", "background_error": Matern(std=0.5, length=1e5)}, "option-conflict"),
    ],
)
def test_a_coast_that_has_no_meaning_is_refused(options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as error:
        record().var4d.assimilate(**options)
    assert codes(error.value) == [code]


def test_image_motion_has_no_coast() -> None:
    rain = record().rename(temperature="rain")
    rain["rain"] = abs(rain["rain"]).assign_attrs(units="mm h-1", standard_name="rainfall_rate")
    with pytest.raises(InputError) as error:
        rain.var4d.assimilate(coast="no_flow")
    assert codes(error.value) == ["option-misplaced"]


@pytest.mark.parametrize("frame", [0, -1])
def test_no_image_must_be_clear(frame: int) -> None:
    """Four fifths of one image hidden, be it the last one: what the others see of one another is enough."""
    clouds = xvar.datasets.twin(eddies(4), noise=0.02, seed=1, clouds=0.8)["temperature"]
    sea = record()
    sea["temperature"][frame] = sea["temperature"][frame].where(np.isfinite(clouds[frame].values))
    result = sea.var4d.assimilate(constraint="weak", land=xr.zeros_like(sea["temperature"][0], dtype=bool))
    assert error(result) < 2.5 * error(found())


def test_clouds_are_not_observed_and_currents_go_on_beneath() -> None:
    whole = found()
    clouds = xvar.datasets.twin(eddies(4), noise=0.02, seed=1, clouds=0.4)
    clouded = record()
    clouded["temperature"] = clouded["temperature"].where(np.isfinite(clouds["temperature"].values))
    clouded["temperature"].attrs = record()["temperature"].attrs
    result = clouded.var4d.assimilate(constraint="weak", land=xr.zeros_like(clouded["temperature"][0], dtype=bool))
    assert np.isfinite(result["u"]).all()
    assert int(result["number_of_observations"][0]) < int(whole["number_of_observations"][0])
    truth = made().isel(time=-1)
    assert error(result) < 0.5 * float(np.hypot(truth["u"], truth["v"]).values[SEA].mean())


def test_a_frame_of_nine_tenths_of_clouds_counts_for_the_rest() -> None:
    """It is the last one: it has less to tell, but does no harm, and it is not thrown away."""
    clouds = np.isnan(xvar.datasets.twin(eddies(4), seed=2, clouds=0.9)["temperature"].values[-1])
    assert 0.88 < clouds.mean() < 0.92
    sea = record()
    sea["temperature"].values[-1][clouds] = np.nan
    no_land = xr.zeros_like(sea["temperature"][0], dtype=bool)
    result = sea.var4d.assimilate(constraint="weak", land=no_land)
    truth = made().isel(time=-1)
    rest = float(np.hypot(truth["u"], truth["v"]).values[SEA].mean())
    assert int(result["status"][0]) in (1, 2)
    assert error(result) < 0.6 * rest
    gone = record()
    gone["temperature"].values[-1] = np.nan
    assert error(result) < 1.05 * error(gone.var4d.assimilate(constraint="weak", land=no_land))


def test_a_window_without_a_value_is_at_rest() -> None:
    sea = record(7)
    sea["temperature"][3:] = np.nan
    result = sea.var4d.assimilate(constraint="weak", window=4)
    assert int(result["status"][1]) == 3
    np.testing.assert_array_equal(result["u"][1], 0)


# ---- the same analysis


def test_windows_with_holes_have_the_bits_that_they_have_alone() -> None:
    sea = record(7)
    sea["temperature"][1, 10:20, 10:24] = np.nan
    sea["temperature"][6, 22:34, 5:15] = np.nan
    together = sea.var4d.assimilate(constraint="weak", window=3, stride=2)
    names = ("u", "v", "u_forcing", "source", "cost", "evaluations")
    for window in range(3):
        alone = sea.isel(time=slice(2 * window, 2 * window + 3)).var4d.assimilate(constraint="weak", window=3)
        for name in names:
            np.testing.assert_array_equal(alone[name][0], together[name][window], err_msg=name)
    same(sea.var4d.assimilate(constraint="weak", window=3, stride=2, batch=1), together, names)


def test_rows_and_columns_from_the_other_end_change_no_bit() -> None:
    sea = holed()
    for flipped in ({"y": -1}, {"x": -1}, {"y": -1, "x": -1}):
        turned = sea.isel({dim: slice(None, None, step) for dim, step in flipped.items()})
        result = turned.var4d.assimilate(constraint="weak", land="never_valid")
        expected = sea.var4d.assimilate(constraint="weak", land="never_valid")
        same(result.sel(y=expected["y"], x=expected["x"]), expected, ("u", "v", "source", "v_forcing"))


def test_kilometres_and_transposed_dimensions() -> None:
    sea = record().transpose("x", "time", "y")
    for name in ("y", "x"):
        sea = sea.assign_coords({name: (name, sea[name].values / 1e3, {**sea[name].attrs, "units": "km"})})
    result = sea.var4d.assimilate(constraint="weak").transpose(*found()["u"].dims, "stage", "interval", "rule")
    same(result, found(), ("u", "v", "cost"))


# ---- real files


def margin(values: np.ndarray) -> np.ndarray:
    inside = np.zeros_like(values)
    inside[5:-5, 5:-5] = values[5:-5, 5:-5]
    return inside


@pytest.mark.filterwarnings("ignore:Duplicate dimension names present:UserWarning")
@pytest.mark.parametrize(
    ("file", "frames", "limit"),
    [("ocean-norkyst800-20160114.nc", slice(0, 3), 0.150), ("ocean-arctic20-20160201.nc", slice(1, 5), 0.101)],
)
def test_end_point_error_of_real_files(shared_data, file: str, frames: slice, limit: float) -> None:
    with xr.open_dataset(shared_data / file) as opened:
        ocean = opened.drop_dims("string1", errors="ignore").isel(time=frames).load()
    analysis = ocean.var4d.assimilate("temperature", constraint="weak", land="never_valid")
    last = analysis.isel(window=0, step=-1)
    truth = ocean.isel(time=-1)
    known = np.isfinite(ocean["temperature"]).all("time") & np.isfinite(truth["u"] + truth["v"])
    kept = margin(known.values)
    distance = np.hypot(last["u"] - truth["u"], last["v"] - truth["v"]).values[kept]
    assert distance.mean() <= limit
    assert np.isnan(last["u"].values[np.isnan(ocean["temperature"].values).all(0)]).all()
