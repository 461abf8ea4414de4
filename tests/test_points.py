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
from xvar.covariance import Diagonal, Geostrophic, Helmholtz, Matern
from xvar.datasets import twin
from xvar.dynamics import Advection, ShallowWater
from xvar.errors import InputError
from xvar.minimize import LBFGS
from xvar.observation import Points, assimilate_points, pixels

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


def assimilate(table: Any = None, given: xr.Dataset | None = None, **options: Any) -> xr.Dataset:
    options = {
        "dynamics": still,
        "background_error": {"a": Diagonal(1.0), "b": Diagonal(1.0)},
        "window": "4h",
    } | options
    return assimilate_points(
        points() if table is None else table,
        background=background() if given is None else given,
        dtype="float64",
        **options,
    )


def test_what_became_of_every_point(tmp_path: Path) -> None:
    analysis = assimilate()
    quality = analysis["observation_quality"]
    assert quality.attrs["flag_meanings"] == "used outside_domain outside_window no_value"
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
    analysis = assimilate(Points(points(), every="2h"), model_error={"b": Diagonal(1e-3)})
    assert dict(analysis["b_forcing"].sizes) == {"window": 1, "interval": 2, "y": 9, "x": 11}
    assert analysis["b_forcing"].attrs["units"] == "m s-1 s-1"
    assert (analysis["forcing_time"].values[0] == BEGIN + np.array([1, 3]) * HOUR).all()
    assert float(analysis["cost_model_error"].isel(stage=1).item()) > 0


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


def test_drifters_help_temperatures() -> None:
    """Both in one table: the velocity from images and a dozen drifters is nearer to the truth than from images."""
    size, spacing = 24, 2e3
    error = Helmholtz(0.15, 12e3, 0.15)
    from xvar.core.grid import Grid

    w = error.bind(Grid((size, size), (spacing, spacing)), dtype=torch.float64).sample(
        (1, 2, size, size), torch.Generator().manual_seed(3)
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
    images = twin(truth, times="3h", noise=0.05, clouds=0.5)
    clear = twin(truth, times="3h", noise=0.05)
    table = pixels(images["temperature"].isel(time=slice(1, None)), 0.05)
    assert table.sizes["point"] == int(images["temperature"].isel(time=slice(1, None)).notnull().sum())
    generator = np.random.default_rng(0)
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
    errors = {}
    for name, part in (("images", table), ("both", xr.concat([table, drifters], "point"))):
        analysis = assimilate_points(
            part,
            dynamics=Advection(motion="steady", departure="midpoint", step=3600.0),
            background=given,
            background_error={"velocity": error, "temperature": Diagonal(0.05)},
            minimizer=LBFGS(evaluations=60),
        )
        difference = np.stack([analysis[key].values[0, 0] for key in "uv"]) - w.numpy()
        errors[name] = float(np.sqrt((difference**2).sum(0).mean()))
    nothing = float(w.square().sum(0).mean().sqrt())
    assert errors["both"] < 0.9 * errors["images"]
    assert errors["images"] < 0.8 * nothing


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"variable": ["a", "b", "c", "a", "a", "a"]}, {}, "'c'"),
        ({"std": [0.0] * 6}, {}, "standard deviation"),
        ({"time": np.arange(6.0)}, {}, "no date of each point"),
        ({}, {"window": "0h"}, "window"),
        ({}, {"background_error": None}, "background_error"),
        ({}, {"background_error": {"c": Diagonal(1.0)}}, "'c'"),
        ({"time": np.full(6, BEGIN - HOUR)}, {"window": None}, "no observation after"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        assimilate(points(**change), **options)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda given: given.drop_vars("time"), "no one time"),
        (lambda given: given.expand_dims(level=2), "dimensions"),
        (lambda given: given.where(given["x"] > 0), "not finite"),
        (lambda given: given.drop_vars("x"), "coordinate"),
    ],
)
def test_a_background_that_cannot_be_is_refused(broken: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        assimilate(given=broken(background()))


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
        Points(table, std=0.01, variable="a"),
        given,
        dynamics=ShallowWater(1.0, variables=("a", "u", "v")),
        background_error=Geostrophic(Matern(0.1, 60e3, 2), Matern(1e-3, 60e3)),
        window="1h",
    )
    start = analysis.isel(window=0, step=0)
    assert float(start["a"].sel(x=100e3, y=80e3)) > 0.01
    assert float(start["u"].sel(x=100e3, y=140e3)) > 0 > float(start["u"].sel(x=100e3, y=20e3))


def run(*arguments: str) -> str:
    """Standard output of a Python of its own, on one thread."""
    root = Path(__file__).parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.long
def test_currents_from_heights_along_tracks() -> None:
    figures = json.loads(run("examples/shallow_water_tracks.py", "--json", "-"))
    assert figures["velocity_error_ratio"] < 0.5
    assert figures["residual_over_noise"] == pytest.approx(1, abs=0.1)


@pytest.mark.long
def test_a_cycled_analysis_of_lorenz_96_is_better_than_its_observations() -> None:
    figures = json.loads(run("examples/lorenz96.py", "--cycles", "30", "--json", "-"))
    assert figures["rmse_analysis"] < 0.5 < figures["rmse_forecast"] < 0.65


MEMORY = """
import resource, torch
from xvar.core.cost import Cost
from xvar.core.covariance import Matern
from xvar.core.grid import Grid
from xvar.core.points import PointExperiment, PointTable
from xvar.core.shallow_water import ShallowWater

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
experiment = PointExperiment(model, {"flow": Matern(0.1, 1e5)})
problem, _ = experiment.problem({"flow": torch.zeros(1, 3, 240, 240)}, table, [0.0, span], grid)
assert len(problem.steps) == 30
cost = Cost(problem)
cost.gradient(cost.zero() + 0.01)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
def test_thirty_steps_on_240_by_240_need_less_than_a_gibibyte() -> None:
    """Python and torch included."""
    assert int(run("-c", MEMORY)) < 2**20
