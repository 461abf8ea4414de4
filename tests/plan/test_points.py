from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from tests.cf.strict import strict_cf
from tests.faults.codes import codes
from tests.faults.images import warm
from xvar.covariance import Diagonal, Geostrophic, Helmholtz, Matern
from xvar.datasets import twin
from xvar.dynamics import Advection, ModelError, ShallowWater
from xvar.errors import AnalysisWarning, InputError
from xvar.minimize import LBFGS
from xvar.observation import Points, pixels

BEGIN = np.datetime64("2024-01-01", "ns")
HOUR = np.timedelta64(3600 * 10**9, "ns")


def still(state: dict[str, torch.Tensor], seconds: float) -> dict[str, torch.Tensor]:
    return {"a": state["a"] + 0.0, "b": state["b"] + seconds * 1e-4}


def background(ny: int = 9, nx: int = 11, *, geographic: bool = False) -> xr.Dataset:
    dims = ("lat", "lon") if geographic else ("y", "x")
    if geographic:
        attrs = [
            {"units": "degrees_north", "standard_name": "latitude"},
            {"units": "degrees_east", "standard_name": "longitude"},
        ]
        along = [40 + 0.1 * np.arange(ny), 355 + 0.1 * np.arange(nx)]
    else:
        attrs = [{"units": "m", "standard_name": f"projection_{name}_coordinate"} for name in "yx"]
        along = [1e3 * np.arange(ny), 1e3 * np.arange(nx)]
    field = np.arange(nx) + 100.0 * np.arange(ny)[:, None]
    return xr.Dataset(
        {"a": (dims, field, {"units": "m"}), "b": (dims, 0 * field, {"units": "m s-1"})},
        coords={dims[0]: (dims[0], along[0], attrs[0]), dims[1]: (dims[1], along[1], attrs[1]), "time": BEGIN},
    )


def points(**changes: Any) -> xr.Dataset:
    data = {
        "value": [3.0, 0.5, np.nan, 7.0, 9.0, 9.0],
        "std": [0.1, 0.2, 0.1, 0.1, 0.1, 0.1],
        "variable": ["a", "b", "a", "a", "a", "a"],
        "time": BEGIN + np.array([0, 2, 2, 4, 2, 9]) * HOUR,
        "y": [2500.0, 0.0, 0.0, 8000.0, 9000.0, 0.0],
        "x": [3500.0, 10000.0, 0.0, 0.0, 0.0, 0.0],
    }
    return xr.Dataset({name: ("report", values) for name, values in {**data, **changes}.items()})


def assimilate(table: Any = None, given: Any = None, **options: Any) -> xr.Dataset:
    options = {
        "dynamics": still,
        "background": background() if given is None else given,
        "background_error": {"a": Diagonal(1.0), "b": Diagonal(1.0)},
        "window": "4h",
        "dtype": "float64",
    } | options
    if isinstance(table, Points):
        table, options["observation"] = table.dataset, table
    return (points() if table is None else table).var4d.assimilate(**options)


def test_what_became_of_every_point(tmp_path: Path) -> None:
    analysis = assimilate()
    quality = analysis["observation_quality"]
    meanings = "used outside_domain outside_window no_value on_land out_of_range background_check"
    assert quality.attrs["flag_meanings"] == meanings
    assert quality.values.tolist() == [0, 0, 3, 0, 1, 2]
    assert int(analysis["number_of_observations"].item()) == 3
    assert analysis["observation_background"].values[:2] == pytest.approx([253.5, 7200e-4])
    assert analysis["observation_background"].values[3] == pytest.approx(800.0)
    assert np.isnan(analysis["observation_analysis"].values[[2, 4, 5]]).all()
    # One value alone: the analysis lies between, by the variances.
    assert analysis["observation_analysis"].values[3] == pytest.approx(800 - 793 / 1.01, abs=0.01)
    assert (analysis["observation_time"].values == points()["time"].values).all()
    assert (analysis["observation_x"].values == points()["x"].values).all()
    assert analysis["observation_variable"].attrs["flag_meanings"] == "a b"
    assert dict(analysis["a"].sizes) == {"window": 1, "step": 2, "y": 9, "x": 11}
    assert (analysis["time"].values[0] == [BEGIN, BEGIN + 4 * HOUR]).all()
    analysis.to_netcdf(tmp_path / "analysis.nc")
    code, words = strict_cf(tmp_path / "analysis.nc")
    assert code == 0, words


def test_the_window_ends_with_the_last_point_and_states_are_given_when_asked_for() -> None:
    analysis = assimilate(Points(points(), every="4h"), window=None)
    assert (analysis["time"].values[0] == BEGIN + np.array([0, 4, 8, 9]) * HOUR).all()
    assert int(analysis["number_of_observations"].item()) == 4


def test_pixels_of_one_image() -> None:
    images = warm(3)["sst"]
    images[1, 2, 3] = np.nan
    one, all_of_them = pixels(images.isel(time=[1]), 0.1), pixels(images, 0.1)
    xr.testing.assert_identical(one, all_of_them.isel(point=all_of_them["time"] == images["time"][1]))
    assert one.sizes["point"] == images[0].size - 1


def test_the_order_of_the_background_does_not_matter() -> None:
    given = background()
    turned = given.isel(y=slice(None, None, -1), x=slice(None, None, -1)).transpose("x", "y")
    plain, other = assimilate(given=given), assimilate(given=turned)
    np.testing.assert_allclose(plain["observation_analysis"], other["observation_analysis"], atol=1e-9)
    xr.testing.assert_allclose(
        plain["a"].drop_attrs(), other["a"].sortby(["x", "y"]).transpose(*plain["a"].dims).drop_attrs(), atol=1e-9
    )


def test_longitudes_go_around() -> None:
    """Degrees west of Greenwich, for a background that counts to the east."""
    table = points(latitude=[40.25, 40, 40, 40.8, 45, 40], longitude=[-4.65, -4, -5, -5, -5, -5]).drop_vars(["x", "y"])
    analysis = assimilate(table, background(geographic=True))
    assert analysis["observation_quality"].values.tolist() == [0, 0, 3, 0, 1, 2]
    assert analysis["observation_background"].values[0] == pytest.approx(253.5)


def test_the_weak_constraint_has_a_forcing_with_its_times() -> None:
    error = ModelError({"b": Diagonal(1e-3)}, forcing_interval="2h")
    analysis = assimilate(Points(points(), every="2h"), constraint="weak", model_error=error)
    assert dict(analysis["b_forcing"].sizes) == {"window": 1, "interval": 2, "y": 9, "x": 11}
    assert analysis["b_forcing"].attrs["units"] == "m s-1 s-1"
    assert (analysis["forcing_time"].values[0] == BEGIN + np.array([1, 3]) * HOUR).all()
    assert float(analysis["cost_model_error"].isel(stage=1).item()) > 0


def test_windows_that_are_not_converged_are_told() -> None:
    with pytest.warns(AnalysisWarning, match=r"1 of 1 windows not converged, .* window 0 \(2024-01-01"):
        analysis = assimilate(minimizer=LBFGS(max_evaluations=2, gtol=1e-12, ftol=0.0))
    assert analysis["status"].values.tolist() == [2]


def test_the_descent_of_every_window(tmp_path: Path) -> None:
    starts = xr.concat([background(), background().assign_coords(time=BEGIN + 4 * HOUR)], "time")
    plain = assimilate(given=starts, background_error=Diagonal(1.0), dynamics=still)
    told = assimilate(given=starts, background_error=Diagonal(1.0), dynamics=still, save=("cost_history",))
    xr.testing.assert_identical(told[list(plain)].drop_attrs(deep=False), plain.drop_attrs(deep=False))
    taken = told["minimisation"] > 0
    assert taken.sum("evaluation").values.tolist() == told["evaluations"].values.tolist()
    last = told["cost_history_observation"].isel(evaluation=taken.sum("evaluation") - 1)
    np.testing.assert_allclose(last, told["cost_observation"].isel(stage=1), rtol=1e-9)
    told.to_netcdf(tmp_path / "told.nc")
    code, words = strict_cf(tmp_path / "told.nc")
    assert code == 0, words


def test_velocities_of_a_c_grid_are_compared_where_they_are() -> None:
    """A velocity that is x plus ten y, half a cell off the heights."""
    model = ShallowWater(1.0, variables=("a", "u", "v"))
    given = background()
    along = (given["x"] + 10 * given["y"]).transpose("y", "x")
    given = given[["a"]] * 0
    given["u"], given["v"] = (along + 500.0) * 1e-9, (along + 5000.0) * 1e-9
    table = points(value=[0.0] * 6, variable=["u", "v", "u", "u", "u", "u"], time=np.full(6, BEGIN))
    table = table.isel(report=[0, 1]).assign(x=("report", [2500.0, 2600.0]), y=("report", [3000.0, 3700.0]))
    # The window begins with the points: the model does not move them.
    analysis = assimilate(table, given, dynamics=model, background_error=Diagonal(1e-12), window="1h")
    expected = [(2500 + 30000) * 1e-9, (2600 + 37000) * 1e-9]
    assert analysis["observation_background"].values == pytest.approx(expected, rel=1e-9)


def velocity_errors(seed: int) -> dict[str, float]:
    """RMSE of the velocity: at rest, from images under clouds, and from these with a dozen drifters in one table."""
    size, spacing = 24, 2e3
    error = Helmholtz(0.15, 12e3, 0.15)
    from xvar.core.grid import Grid

    w = error.bind(Grid((size, size), (spacing, spacing)), dtype=torch.float64).sample(
        (1, 2, size, size), torch.Generator().manual_seed(seed)
    )[0]
    coords = {
        "time": pd.date_range(BEGIN, periods=2, freq="6h"),
        "y": ("y", np.arange(size) * spacing, {"units": "m", "standard_name": "projection_y_coordinate"}),
        "x": ("x", np.arange(size) * spacing, {"units": "m", "standard_name": "projection_x_coordinate"}),
    }
    truth = xr.Dataset(
        {
            name: (("time", "y", "x"), np.broadcast_to(part.numpy(), (2, size, size)), {"units": "m s-1"})
            for name, part in zip(("u", "v"), w, strict=True)
        },
        coords=coords,
    )
    images = twin(truth, times="3h", noise=0.05, clouds=0.9)
    clear = twin(truth, times="3h", noise=0.05)
    table = pixels(images["temperature"].isel(time=slice(1, None)), 0.05)
    assert table.sizes["point"] == int(images["temperature"].isel(time=slice(1, None)).notnull().sum())
    generator = np.random.default_rng(seed)
    rows, columns = generator.integers(1, size - 1, (2, 12))
    drifters = xr.concat(
        [
            xr.Dataset(
                {
                    "value": ("point", part.numpy()[rows, columns] + 0.02 * generator.standard_normal(12)),
                    "std": ("point", np.full(12, 0.02)),
                    "variable": ("point", np.full(12, name)),
                    "time": ("point", BEGIN + generator.integers(0, 360, 12) * np.timedelta64(60, "s")),
                    "y": ("point", rows * spacing),
                    "x": ("point", columns * spacing),
                }
            )
            for name, part in zip(("u", "v"), w, strict=True)
        ],
        "point",
    ).set_coords(["time", "y", "x"])
    first = clear[["temperature"]].isel(time=0).drop_attrs(deep=False)
    given = first.assign(
        u=xr.zeros_like(first["temperature"]).assign_attrs(units="m s-1"),
        v=xr.zeros_like(first["temperature"]).assign_attrs(units="m s-1"),
    )
    errors = {"nothing": float(w.square().sum(0).mean().sqrt())}
    for name, part in (("images", table), ("both", xr.concat([table, drifters], "point"))):
        analysis = part.var4d.assimilate(
            dynamics=Advection(motion="steady", departure="midpoint", step=3600.0),
            background=given,
            background_error={"velocity": error, "temperature": Diagonal(0.05)},
            minimizer=LBFGS(max_evaluations=60),
        )
        difference = np.stack([analysis[key].values[0, 0] for key in "uv"]) - w.numpy()
        errors[name] = float(np.sqrt((difference**2).sum(0).mean()))
    return errors


@pytest.mark.filterwarnings("ignore:1 of 1 windows not converged")  # 60 evaluations are enough to tell
def test_drifters_help_temperatures() -> None:
    """Both in one table: nearer to the truth than the images alone, and these nearer than rest."""
    pooled = pd.DataFrame([velocity_errors(seed) for seed in range(3)]).pow(2).mean().pow(0.5)
    assert pooled["both"] < 0.95 * pooled["images"]
    assert pooled["images"] < 0.8 * pooled["nothing"]


@pytest.mark.parametrize(
    ("change", "options", "code"),
    [
        ({"variable": ["a", "b", "c", "a", "a", "a"]}, {}, "observed-variable-unknown"),
        ({"std": [0.0] * 6}, {}, "points-std-not-positive"),
        ({"time": np.arange(6.0)}, {}, "points-without-date"),
        ({}, {"background_error": None}, "background-error-missing"),
        ({}, {"background_error": {"c": Diagonal(1.0)}}, "component-unknown"),
        ({"time": np.full(6, BEGIN - HOUR)}, {"window": None}, "points-before-background"),
        ({}, {"model_error": {"b": Diagonal(1.0)}}, "model-error-with-strong-constraint"),
        ({}, {"constraint": "weak"}, "model-error-missing"),
        ({}, {"dynamics": None}, "dynamics-missing"),
        ({}, {"background": None}, "background-missing"),
        ({}, {"stride": 2}, "option-misplaced"),
    ],
)
def test_faults_of_a_call_with_points(change: dict[str, Any], options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        assimilate(points(**change), **options)
    assert codes(caught.value) == [code]


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (lambda given: given.drop_vars("time"), "background-without-time"),
        (lambda given: given.isel(y=0, x=0), "background-dimensions"),
        (lambda given: given.assign(a=given["a"].where(given["x"] > 0)), "background-incomplete"),
    ],
)
def test_faults_of_the_background_of_points(broken: Any, code: str) -> None:
    with pytest.raises(InputError) as caught:
        assimilate(given=broken(background()))
    assert codes(caught.value) == [code]


def test_the_input_is_not_changed() -> None:
    table, given = points(), background()
    copies = table.copy(deep=True), given.copy(deep=True)
    assimilate(table, given)
    xr.testing.assert_identical(table, copies[0])
    xr.testing.assert_identical(given, copies[1])


def test_a_balanced_height_moves_the_currents() -> None:
    """One height of the sea: the currents around it turn clockwise round a high in the north."""
    given = (background()[["a"]] * 0).assign(u=background()["b"] * 0, v=background()["b"] * 0)
    given = given.assign_coords({name: (name, 20 * given[name].values, given[name].attrs) for name in "xy"})
    table = xr.Dataset(
        {
            "value": ("point", [0.1]),
            "time": ("point", [BEGIN + HOUR]),
            "x": ("point", [100e3]),
            "y": ("point", [80e3]),
        }
    )
    analysis = assimilate(
        Points(table, error=0.01, variable="a"),
        given,
        dynamics=ShallowWater(1.0, variables=("a", "u", "v")),
        background_error=Geostrophic(Matern(0.1, 60e3, 2), Matern(1e-3, 60e3)),
        window="1h",
    )
    start = analysis.isel(window=0, step=0)
    assert float(start["a"].sel(x=100e3, y=80e3)) > 0.01
    assert float(start["u"].sel(x=100e3, y=140e3)) > 0 > float(start["u"].sel(x=100e3, y=20e3))


def decaying(state: dict[str, torch.Tensor], seconds: float) -> dict[str, torch.Tensor]:
    """`still`, with a rate that is a parameter."""
    return {**still(state, seconds), "a": state["a"] * (1 - seconds * state["rate"])}


def test_land_is_where_the_background_is_nan() -> None:
    """A gauge at the coast is compared with the sea beside it, one inland with nothing."""
    given = background().astype("float64")
    land = (given["x"] >= 5e3) & (given["y"] >= 0)
    given = given.where(~land)
    table = points(
        value=[4.0, 4.0, 4.0, 4.0, 4.0, 4.0],
        variable=["a"] * 6,
        time=np.full(6, BEGIN + HOUR),
        x=[4000.0, 4600.0, 6000.0, 10000.0, 2500.0, 2500.0],
        y=[2000.0] * 6,
    )
    analysis = assimilate(table, given)
    assert analysis["observation_quality"].values.tolist() == [0, 0, 4, 4, 0, 0]
    assert analysis["observation_background"].values[:2] == pytest.approx([204.0, 204.0])
    assert analysis["observation_background"].values[4] == pytest.approx(202.5)
    assert np.isnan(analysis["a"].where(land, drop=True)).all()
    assert np.isfinite(analysis["a"].where(~land, drop=True)).all()
    forecast = analysis.var4d.forecast("2h", "1h", dynamics=still)
    assert (np.isnan(forecast["b"]).any(("window", "lead_time")) == land).all()


def test_land_reaches_the_covariance() -> None:
    """Correlations along the coast do not cross it."""
    given = background(9, 21).astype("float64") * 0
    wall = given["x"] == 10e3
    table = points(variable=["a"] * 6, value=[1.0] * 6, time=np.full(6, BEGIN + HOUR), x=[8000.0] * 6, y=[4000.0] * 6)
    from xvar.covariance import Diffusion

    error = {"a": Diffusion(1.0, 4e3)}
    open_sea, closed = (assimilate(table, part, background_error=error) for part in (given, given.where(~wall)))
    beyond = {"x": 13e3, "y": 4e3}
    assert float(open_sea["a"].isel(window=0, step=0).sel(beyond)) > 0.1
    assert abs(float(closed["a"].isel(window=0, step=0).sel(beyond))) < 1e-6


def curvilinear() -> xr.Dataset:
    """A grid turned by 30 degrees about 60 N, 5 E."""
    given = background()
    east, north = given["x"].values - 5e3, given["y"].values[:, None] - 4e3
    turn = np.deg2rad(30.0)
    along, up = east * np.cos(turn) - north * np.sin(turn), east * np.sin(turn) + north * np.cos(turn)
    metres = 6371e3 * np.pi / 180
    latitude = 60 + up / metres
    longitude = 5 + along / (metres * np.cos(np.deg2rad(latitude)))
    names = {"latitude": ("degrees_north", latitude), "longitude": ("degrees_east", longitude)}
    return given.drop_vars(["x", "y"]).assign_coords(
        {name: (("y", "x"), values, {"units": units, "standard_name": name}) for name, (units, values) in names.items()}
    )


def test_points_on_a_grid_of_two_dimensional_coordinates() -> None:
    """At a grid point, in the middle of a cell, and outside; longitudes in another turn."""
    given = curvilinear()
    latitude, longitude = given["latitude"].values, given["longitude"].values
    table = points(variable=["a"] * 6, value=[1.0] * 6, time=np.full(6, BEGIN + HOUR)).drop_vars(["x", "y"])
    table["lat"] = ("report", [latitude[3, 7], latitude[2:4, 5:7].mean(), latitude[0, 0], latitude[8, 10], 61.0, 59.9])
    table["lon"] = (
        "report",
        [longitude[3, 7] + 360, longitude[2:4, 5:7].mean(), longitude[0, 0], longitude[8, 10] - 360, 5.0, 5.0],
    )
    analysis = assimilate(table, given)
    assert analysis["observation_quality"].values.tolist() == [0, 0, 0, 0, 1, 1]
    # The field is x + 100 y in cells.
    assert analysis["observation_background"].values[:4] == pytest.approx([307, 255.5, 0, 810], abs=1e-2)
    turned = given.isel(y=slice(None, None, -1), x=slice(None, None, -1))
    again = assimilate(table, turned)
    np.testing.assert_allclose(
        again["observation_background"].values[:4], analysis["observation_background"].values[:4], atol=1e-6
    )
    assert again["observation_latitude"].values == pytest.approx(table["lat"].values)


def test_a_background_of_several_times_makes_several_windows(tmp_path: Path) -> None:
    given = background()
    later = given.assign(a=given["a"] + 5, time=BEGIN + 4 * HOUR)
    both = xr.concat([given, later], "time", data_vars="all", coords="minimal", compat="override")
    analysis = assimilate(Points(points(), every="2h"), both)
    assert dict(analysis["a"].sizes) == {"window": 2, "step": 3, "y": 9, "x": 11}
    assert (analysis["time"].values[:, 0] == [BEGIN, BEGIN + 4 * HOUR]).all()
    assert (analysis["forecast_reference_time"].values == [BEGIN + 4 * HOUR, BEGIN + 8 * HOUR]).all()
    window = analysis["observation_window"].values
    # That of hour 4 lies in both; that of hour 9 in none.
    assert [int((window == k).sum()) for k in (0, 1, -1)] == [5, 1, 1]
    assert analysis["observation_quality"].values[window == -1].tolist() == [2]
    for index, start in enumerate((given, later)):
        alone = assimilate(Points(points(), every="2h"), start)
        for name in ("a", "b", "cost", "number_of_observations", "status"):
            np.testing.assert_array_equal(analysis[name].values[index], alone[name].values[0])
        mine = analysis["observation_analysis"].values[window == index]
        known = alone["observation_analysis"].values[np.isfinite(alone["observation_analysis"].values)]
        np.testing.assert_array_equal(mine[np.isfinite(mine)], known)
    analysis.to_netcdf(tmp_path / "analysis.nc")
    code, words = strict_cf(tmp_path / "analysis.nc")
    assert code == 0, words
    with pytest.raises(InputError) as caught:
        assimilate(Points(points()), both, window=None)
    assert codes(caught.value) == ["window-missing"]


def test_a_forecast_goes_on_from_points(tmp_path: Path) -> None:
    analysis = assimilate(Points(points(), every="2h"))
    forecast = analysis.var4d.forecast("4h", dynamics=still)
    assert (forecast["lead_time"].values == np.array([2, 4]) * HOUR).all()
    assert (forecast["time"].values[0] == BEGIN + np.array([6, 8]) * HOUR).all()
    end = analysis.isel(window=0, step=-1)
    np.testing.assert_allclose(forecast["b"].values[0, 1], end["b"].values + 4 * 3600 * 1e-4, atol=1e-9)
    analysis.to_netcdf(tmp_path / "analysis.nc")
    with xr.open_dataset(tmp_path / "analysis.nc") as file:
        again = file.load().var4d.forecast("4h", dynamics=still)
    xr.testing.assert_equal(forecast["a"], again["a"])
    forecast.to_netcdf(tmp_path / "forecast.nc")
    code, words = strict_cf(tmp_path / "forecast.nc")
    assert code == 0, words
    with pytest.raises(InputError) as caught:
        analysis.var4d.forecast("4h")
    assert codes(caught.value) == ["model-not-stated"]


def test_a_parameter_of_the_model_is_found_from_points_and_goes_on_in_the_forecast(tmp_path: Path) -> None:
    from xvar.control import Parameter

    rate = 2e-5
    model = {"a": torch.from_numpy(background()["a"].values)[None, None], "b": torch.zeros(1, 1, 9, 11)}
    model = {**model, "rate": torch.tensor(rate)}
    for _ in range(2):
        model = {**decaying(model, 7200.0), "rate": torch.tensor(rate)}
    end = model["a"][0, 0].numpy()
    rows, columns = np.array([1, 4, 7, 8, 3, 5]), np.array([3, 6, 9, 1, 8, 2])
    table = points(
        value=end[rows, columns],
        variable=["a"] * 6,
        time=np.full(6, BEGIN + 4 * HOUR),
        y=1e3 * rows.astype(float),
        x=1e3 * columns.astype(float),
    )
    decaying.step = 7200.0  # type: ignore[attr-defined]
    analysis = assimilate(
        table,
        dynamics=decaying,
        background_error={"a": Diagonal(0.01)},
        parameters={"rate": Parameter(1e-5, 1e-5, "s-1", long_name="rate of decay")},
    )
    assert float(analysis["rate"].item()) == pytest.approx(rate, rel=1e-3)
    assert analysis["rate"].attrs["units"] == "s-1"
    assert analysis["rate"].attrs["prior"] == analysis["rate"].attrs["prior_standard_deviation"] == 1e-5
    assert float(analysis["cost_parameters"].isel(window=0, stage=1)) == pytest.approx(0.5, rel=1e-2)
    forecast = analysis.var4d.forecast("2h", "2h", dynamics=decaying)
    expected = analysis["a"].isel(window=0, step=-1) * (1 - 7200 * float(analysis["rate"].item()))
    np.testing.assert_allclose(forecast["a"].values[0, 0], expected.values, rtol=1e-6)
    analysis.to_netcdf(tmp_path / "analysis.nc")
    code, words = strict_cf(tmp_path / "analysis.nc")
    assert code == 0, words


def run(*arguments: str) -> str:
    """Standard output of a Python of its own, on one thread."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.long
def test_currents_from_heights_along_tracks() -> None:
    """Over fifteen days; what the example's twenty-five give stands in docs/howto/own-model.md."""
    short = ("--days", "15", "--evaluations", "30", "--json", "-")
    figures = json.loads(run("examples/shallow_water_tracks.py", *short))
    assert figures["velocity_error_ratio"] < 0.33
    assert figures["ageostrophic_energy_analysis"] < figures["ageostrophic_energy_truth"]
    assert figures["residual_over_noise"] == pytest.approx(1, abs=0.1)


@pytest.mark.long
def test_a_cycled_analysis_of_lorenz_96_is_better_than_its_observations() -> None:
    figures = json.loads(run("examples/lorenz96.py", "--cycles", "30", "--members", "20", "--json", "-"))
    assert figures["rmse_analysis"] < figures["rmse_end_of_window"] < 0.25
    assert 0.8 < figures["spread_over_error"] < 1.25


MEMORY = """
import resource, torch
from xvar.core.cost import Cost
from xvar.core.covariance import Matern
from xvar.core.grid import Grid
from xvar.core.methods.experiment import Experiment
from xvar.core.methods.points import PointTable
from xvar.core.models.shallow_water import ShallowWater

grid, model = Grid((240, 240), (2e4, 2e4)), ShallowWater(1.0)
span = 30 * model.longest_step(grid.spacing)
table = PointTable(
    torch.rand(1000, dtype=torch.float64) * 0.999 * span,
    torch.rand(2, 1000) * 239,
    torch.zeros(1000, dtype=torch.int64),
    torch.randn(1000),
    torch.ones(1000),
    (("flow", 0), ("flow", 1), ("flow", 2)),
)
experiment = Experiment(model, {"flow": Matern(0.1, 1e5)})
problem = experiment.problem([table], {"flow": torch.zeros(1, 3, 240, 240)}, [0.0, span], grid)
assert len(problem.steps) == 30
cost = Cost(problem)
cost.gradient(cost.zero() + 0.01)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
def test_thirty_steps_on_240_by_240_need_less_than_a_gibibyte() -> None:
    """Python and torch included."""
    assert int(run("-c", MEMORY)) < 2**20
