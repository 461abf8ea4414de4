"""Operators that users write, correlated errors, norms, bias and quality control through the public call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

import xvar
from tests.cf.strict import strict_cf
from tests.core.numerics import random, taylor_orders
from tests.faults.codes import codes
from tests.plan.heat import (
    BEGIN,
    FRAME,
    SHAPE,
    SHARP,
    STD,
    Array,
    Heat,
    after,
    assimilate,
    at,
    at_points,
    background,
    bilinear,
    gauges,
    images,
    numbers,
    record,
    trajectory,
)
from tests.runs.records import same
from xvar.background import Cycled
from xvar.control import Parameter
from xvar.core.cost import Cost
from xvar.core.grid import Grid
from xvar.core.problem import Problem
from xvar.covariance import Channels, Diagonal, Matern, Uniform
from xvar.errors import AnalysisWarning, InputError
from xvar.minimize import LBFGS, GaussNewton
from xvar.observation import Bias, Images, Points

GRID = Grid(SHAPE, (1e3, 1e3))
QUICK = LBFGS(max_evaluations=150, ftol=1e-3)
MATRIX = [[0.09, 0.03], [0.03, 0.05]]
State = dict[str, Tensor]


def blend(state: State) -> Tensor:
    return 0.5 * state["sst"] + 2 * state["flux"]


def two_channels(state: State) -> Tensor:
    return torch.cat([state["sst"] - state["flux"], state["flux"]], dim=1)


def footprint(state: State) -> Tensor:
    """Means over two columns, and over all five rows but the last."""
    return torch.nn.functional.avg_pool2d(state["sst"][..., :4, :], (4, 2))


def profile(state: State) -> Tensor:
    return state["sst"].mean(-1)


def total(state: State) -> Tensor:
    return state["flux"].sum((-1, -2))


def states_at(states: list[State], seconds: float) -> State:
    return {name: at(states, seconds, name)[None, None] for name in STD}


def dense(noise: Any, channels: int, seen: Tensor) -> Tensor:
    """The observed block of the matrix of a covariance."""
    bound = noise.bind(GRID, dtype=torch.float64)
    units = torch.eye(channels * 30, dtype=torch.float64).reshape(-1, channels, *SHAPE)
    return bound.apply(units).flatten(1)[seen][:, seen]


def channels(values: Array, seconds: Any) -> xr.DataArray:
    """Images (time, channel, y, x)."""
    parts = [images(values[:, number], seconds, "radiance").drop_attrs(deep=False) for number in range(2)]
    return xr.concat(parts, "channel").assign_coords(channel=[11, 12])


def own(values: Array, seconds: Any, *dims: str) -> xr.DataArray:
    return xr.DataArray(values, {"time": after(seconds)}, ("time", *dims), "own")


def elsewhere(data: xr.DataArray, operator: Callable[[State], Tensor], error: float) -> Images:
    return Images(data, operator=operator, error=error, coordinates="data")


@pytest.mark.parametrize("holes", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_best_linear_estimate_of_every_kind_of_observation(holes: bool, tmp_path: Path) -> None:
    """Operators on the grid, in channels, on coordinates of their own and at points; R in space and across channels."""
    random_ = np.random.default_rng(1)
    first = 7.0 + numbers(2, *SHAPE, seed=1)
    second = 15.0 + numbers(2, 2, *SHAPE, seed=2)
    if holes:
        first[0, 1:3, 2], first[1, 4] = np.nan, np.nan
        second[0, 0, :, 3], second[1, 1, 2, :4] = np.nan, np.nan
    one, other = Matern(0.4, length=2.5e3), Channels(MATRIX, Matern(1.0, length=1.5e3, smoothness=2))
    times = {"a": [0.0, 700.0], "b": [300.0, 1800.0], "c": [0.0, 500.0], "d": [900.0], "e": [0.0, 1200.0]}
    tables = gauges(np.array([0.0, 130.0, 600.0, 1790.0]), seed=5).drop_vars("variable")
    tables["value"] = tables["value"] / 2
    given: dict[str, Any] = {
        "a": Images(images(first, times["a"], "blend"), operator=blend, error=one),
        "b": Images(channels(second, times["b"]), operator=two_channels, error=other),
        "c": Images(
            own(15 + numbers(2, 3, seed=3), times["c"], "cell"), operator=footprint, error=0.2, coordinates="data"
        ),
        "d": Images(
            own(15 + numbers(1, 5, seed=4), times["d"], "row"), operator=profile, error=0.1, coordinates="data"
        ),
        "e": Images(own(random_.normal(size=2), times["e"]), operator=total, error=0.3, coordinates="data"),
        "points": Points(tables, operator=blend),
    }
    analysis = assimilate(record(), given, save=("innovation", "residual"))
    functions: dict[str, Callable[[State], Tensor]] = {
        "a": blend, "b": two_channels, "c": footprint, "d": profile, "e": total
    }  # fmt: skip
    seconds = (tables["time"].values - BEGIN) / np.timedelta64(1, "s")

    def equivalents(control: Tensor) -> list[Tensor]:
        states = trajectory(control)
        found = [torch.stack([at(states, frame, "sst") for frame in np.arange(4) * FRAME]).flatten()]
        for label, function in functions.items():
            found += [function(states_at(states, time)).flatten() for time in times[label]]
        places = zip(seconds, tables["x"].values / 1e3, tables["y"].values / 1e3, strict=True)
        found.append(torch.stack([bilinear(blend(states_at(states, t))[0, 0], x, y) for t, x, y in places]))
        return found

    values = [record()["sst"].values.ravel()]
    for label in functions:
        values += [part.ravel() for part in given[label].data.transpose("time", ...).values]
    values.append(tables["value"].values)
    if True:  # the channels come before the grid
        values[3:5] = [part.ravel() for part in second]
    tensors = [torch.from_numpy(np.atleast_1d(part)) for part in values]
    seen = [part.isfinite() for part in tensors]
    noise = [torch.diag(torch.full((int(seen[0].sum()),), 0.25**2, dtype=torch.float64))]
    noise += [dense(one, 1, part) for part in seen[1:3]] + [dense(other, 2, part) for part in seen[3:5]]
    for part, std in zip(seen[5:10], (0.2, 0.2, 0.1, 0.3, 0.3), strict=True):
        noise.append(std**2 * torch.eye(len(part), dtype=torch.float64))
    noise.append(torch.diag(torch.from_numpy(tables["std"].values) ** 2))
    mask = torch.cat(seen)

    def flat(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts)[mask]

    zero = torch.zeros(60, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(lambda control: flat(equivalents(control)), zero)
    innovation = flat(tensors) - flat(equivalents(zero))
    whole = torch.block_diag(*noise)
    control = matrix.T @ torch.linalg.solve(matrix @ matrix.T + whole, innovation)
    for name in STD:
        np.testing.assert_allclose(analysis[name][0, 0], trajectory(control)[0][name][0, 0], rtol=0, atol=1e-6)
    residual = innovation - matrix @ control
    cost = 0.5 * residual @ torch.linalg.solve(whole, residual)
    assert float(analysis["cost_observation"][0, 1]) == pytest.approx(float(cost), rel=1e-7)
    expected = flat(equivalents(control))
    np.testing.assert_allclose(analysis["observation_analysis"], expected[-4:], rtol=0, atol=1e-6)
    shape = {"a": (2, *SHAPE), "b": (2, 2, *SHAPE), "c": (2, 3), "d": (1, 5), "e": (2,)}
    begin = 1
    for label, found in shape.items():
        whole_ = torch.cat(equivalents(control)[begin : begin + found[0]]).reshape(found)
        data = second if label == "b" else given[label].data.values
        np.testing.assert_allclose(analysis[f"{label}_residual"][0], data - whole_.numpy(), rtol=0, atol=1e-6)
        begin += found[0]
    assert analysis["b_residual"].dims == ("window", "b_step", "b_channel", "y", "x")
    assert analysis["b_channel"].values.tolist() == [11, 12]
    assert analysis["observation_variable"].attrs["flag_meanings"] == "sst flux points"
    assert int(analysis["number_of_observations"].item()) == int(mask.sum())
    result = analysis.var4d.diagnose()
    assert result.sizes["observation_type"] == 7
    assert float(result["stated_observation_variance"][1]) == pytest.approx(0.16)
    analysis.to_netcdf(tmp_path / "analysis.nc")
    code, words = strict_cf(tmp_path / "analysis.nc")
    assert code == 0, words


def test_coefficients_of_bias_and_the_state_are_the_best_linear_estimate() -> None:
    """A constant, a predictor of the pixels, one of the time and one of a table, each with a prior of its own."""
    data, seconds = record(), [100.0, 600.0, 1500.0]
    warm = images(15.5 + numbers(3, *SHAPE, seed=11), seconds, "warm")
    warm.values[1, :, 2] = np.nan
    angle = xr.DataArray(numbers(*SHAPE, seed=12), dims=("y", "x"))
    drift = xr.DataArray([0.0, 0.3, 1.0], dims="time")
    table = gauges()
    table["depth"] = ("report", np.linspace(0, 2, 7))
    bias = {
        "constant": Parameter(0.2, 0.8, long_name="bias of the satellite"),
        "angle": Bias(0.0, 0.5, predictor=angle),
        "drift": Bias(0.1, 0.4, predictor=drift),
    }
    given = {
        "warm": Images(warm, error=0.3, bias=bias),
        "moored": Points(table, bias={"depth": Bias(-0.1, 0.6, predictor="depth")}),
    }
    analysis = assimilate(data, given, uncertainty="posterior", samples=2, save=("residual",))

    def equivalents(control: Tensor) -> Tensor:
        states, beta = trajectory(control[:60]), control[60:]
        coefficients = [0.2 + 0.8 * beta[0], 0.5 * beta[1], 0.1 + 0.4 * beta[2], -0.1 + 0.6 * beta[3]]
        frames = torch.stack([at(states, frame, "sst") for frame in np.arange(4) * FRAME])
        shown = torch.stack([at(states, time, "sst") for time in seconds]) + coefficients[0]
        shown = shown + coefficients[1] * torch.from_numpy(angle.values)
        shown = shown + coefficients[2] * torch.from_numpy(drift.values)[:, None, None]
        points = at_points(states, table) + coefficients[3] * torch.from_numpy(table["depth"].values)
        return torch.cat([frames.flatten(), shown.flatten(), points])

    values = torch.from_numpy(np.concatenate([data["sst"].values.ravel(), warm.values.ravel(), table["value"].values]))
    seen = values.isfinite()
    spread = torch.cat([torch.full((120,), 0.25), torch.full((90,), 0.3), torch.from_numpy(table["std"].values)])
    zero = torch.zeros(64, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(lambda control: equivalents(control)[seen], zero)
    noise = torch.diag(spread[seen].double() ** 2)
    innovation = values[seen] - equivalents(zero)[seen]
    control = matrix.T @ torch.linalg.solve(matrix @ matrix.T + noise, innovation)
    expected = np.array([0.2, 0, 0.1, -0.1]) + np.array([0.8, 0.5, 0.4, 0.6]) * control[60:].numpy()
    names = ["warm_bias_constant", "warm_bias_angle", "warm_bias_drift", "moored_bias_depth"]
    np.testing.assert_allclose([analysis[name].item() for name in names], expected, rtol=0, atol=1e-6)
    for name in STD:
        np.testing.assert_allclose(analysis[name][0, 0], trajectory(control[:60])[0][name][0, 0], rtol=0, atol=1e-6)
    assert float(analysis["cost_parameters"][0, 1]) == pytest.approx(0.5 * float(control[60:].square().sum()), rel=1e-6)
    left = 15.5 + 0 * expected[0] + numbers(3, *SHAPE, seed=11)
    shown = equivalents(control)[120:210].reshape(3, *SHAPE)
    np.testing.assert_allclose(analysis["warm_residual"][0, 0], (left - shown.numpy())[0], rtol=0, atol=1e-6)
    for name in names:
        assert 0 < float(analysis[f"{name}_std"].item()) < 0.8
    assert analysis["warm_bias_constant"].attrs["long_name"] == "bias of the satellite"
    assert analysis["warm_bias_constant"].attrs["prior"] == 0.2


# ---- the same, however it is stated


def test_an_operator_that_selects_is_the_variable() -> None:
    other, table = images(15 + numbers(2, *SHAPE, seed=3), [0.0, 700.0]), gauges().isel(report=[0, 1, 3, 4, 6])
    plain = assimilate(record(), [Images(other, error=0.4), Points(table)])
    given = [
        Images(operator=lambda state: state["sst"]),
        Images(other, error=0.4, operator=lambda state: state["sst"]),
        Points(table, operator=lambda state: state["sst"]),
    ]
    selected = assimilate(record(), given)
    for name in ("sst", "flux", "observation_analysis"):
        np.testing.assert_allclose(selected[name], plain[name], rtol=0, atol=1e-6)


def test_a_diagonal_covariance_is_a_number_and_a_matrix_without_correlation_too() -> None:
    other = images(15 + numbers(2, *SHAPE, seed=3), [0.0, 700.0])
    other.values[1, 2, 2:4] = np.nan
    three = [assimilate(record(), Images(other, error=error)) for error in (0.4, Diagonal(0.4), Channels([[0.16]]))]
    for one in three[1:]:
        for name in ("sst", "cost"):
            np.testing.assert_allclose(one[name], three[0][name], rtol=0, atol=1e-6)


def test_the_order_of_the_input_does_not_matter() -> None:
    """Rows that descend, of images on the grid, in channels, and on coarser coordinates of their own."""
    second = channels(15.0 + numbers(2, 2, *SHAPE, seed=2), [300.0, 1200.0])
    coarse = second.isel(channel=0, y=slice(0, 4)).coarsen(y=2, x=2).mean()
    std = torch.linspace(0.2, 0.5, 30, dtype=torch.float64).reshape(SHAPE)
    noise = Channels(MATRIX, Matern(std, length=1.5e3))
    angle = xr.DataArray(numbers(*SHAPE, seed=12), dims=("y", "x"))

    def pooled(state: State) -> Tensor:
        return torch.nn.functional.avg_pool2d(state["sst"][..., :4, :], 2)

    def given(turn: Callable[[Any], Any]) -> dict[str, Images]:
        bias = {"angle": Bias(0.0, 1.0, predictor=turn(angle))}
        error = xr.DataArray([[0.3, 0.4, 0.5], [0.6, 0.7, 0.8]], dims=("y", "x"))
        return {
            "b": Images(turn(second), operator=two_channels, error=noise, bias=bias),
            "c": Images(turn(coarse), operator=pooled, error=turn(error), coordinates="data"),
            "d": Images(turn(coarse).rename("d"), operator=pooled, error=Matern(0.3, 3e3), coordinates="data"),
        }

    options: dict[str, Any] = {"save": ("residual",)}
    upright = assimilate(record(), given(lambda part: part), **options)

    def turned(part: Any) -> Any:
        return part.isel(y=slice(None, None, -1))

    data = turned(record())
    reverse = assimilate(data, given(turned), background=turned(background()), **options)
    for name in ("sst", "flux", "b_residual"):
        np.testing.assert_allclose(turned(reverse[name]), upright[name], rtol=0, atol=1e-6)
    np.testing.assert_allclose(reverse["c_residual"], upright["c_residual"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(reverse["c_y"], upright["c_y"])
    assert reverse["b_bias_angle"].item() == pytest.approx(upright["b_bias_angle"].item(), abs=1e-6)


def everything() -> tuple[xr.Dataset, dict[str, Any]]:
    """Ten frames in three windows, with every kind of source; images with holes in some windows only."""
    first = 7.0 + numbers(5, *SHAPE, seed=1)
    first[0, 1:3, 2] = np.nan
    table = gauges(np.linspace(0, 9 * FRAME + 100, 23)).drop_vars("variable")
    table["value"] = table["value"] / 2
    times = [100.0, 600.0, 1900.0, 4000.0, 4100.0]
    return record(10), {
        "record": Images(operator=lambda state: state["sst"], error=Matern(0.25, length=2e3)),
        "a": Images(images(first, times, "blend"), operator=blend, error=Matern(0.4, length=2.5e3),
                    bias={"constant": Parameter(0.0, 0.3)}),
        "e": Images(own(numbers(5, seed=6), times), operator=total, error=0.3, coordinates="data", norm="huber",
                    threshold=1.0),
        "points": Points(table, operator=blend, quality={"background_check": 6.0, "range": (-4.0, 9.0)}),
    }  # fmt: skip


OPTIONS: dict[str, Any] = {"save": ("increment", "residual"), "minimizer": QUICK, "observation_error": None}


def test_lazily_and_alone_the_bits_are_the_same() -> None:
    data, given = everything()
    whole = assimilate(data, given, **OPTIONS)
    lazy = {**given, "a": Images(given["a"].data.chunk(time=1), operator=blend, error=Matern(0.4, length=2.5e3),
                                 bias={"constant": Parameter(0.0, 0.3)})}  # fmt: skip
    found = assimilate(data.chunk(time=3, x=4), lazy, batch=2, **OPTIONS)
    xr.testing.assert_identical(found.compute().drop_attrs(deep=False), whole.drop_attrs(deep=False))
    assert int(whole["rejected_by_check"].sum()) > 0
    record_alone = {"record": given["record"]}
    together = assimilate(data, record_alone, **OPTIONS)
    for window in range(3):
        alone = assimilate(data.isel(time=slice(3 * window, 3 * window + 4)), record_alone, **OPTIONS)
        assert same(alone[["sst", "flux", "cost"]], together[["sst", "flux", "cost"]].isel(window=[window])) == []


@pytest.mark.parametrize("name", ["a.zarr", "a.nc"])
def test_a_run_holds_every_kind_of_source(name: str, tmp_path: Path) -> None:
    data, given = everything()
    options: dict[str, Any] = {
        "dynamics": Heat(),
        "background": background(),
        "background_error": {key: Diagonal(std) for key, std in STD.items()},
        "observation": given,
        "dtype": "float64",
        "minimizer": QUICK,
    }
    whole = data.var4d.assimilate(**options)
    xvar.run(data, tmp_path / name, **options, batch=1)
    with xr.open_dataset(tmp_path / name, **({"engine": "zarr"} if name.endswith("zarr") else {})) as file:
        stored = file.load()
    assert same(whole[["sst", "flux", "cost", "a_bias_constant", "rejected_by_check"]], stored) == []
    place = {"window": stored["observation_window"], "point": stored["observation_point"]}
    rejected = stored["observation_rejected"].isel(place).where(stored["observation_point"] >= 0) == 1
    np.testing.assert_array_equal(rejected, whole["observation_quality"] == 6)


def test_cycled_windows_use_every_observation_once() -> None:
    """Observations at the beginning of the record count, and those on the border of two windows count once."""
    first = background().assign_coords(time=BEGIN)
    table = gauges(np.array([0.0, 1800.0, 3600.0, 900.0]))
    border = images(7.0 + numbers(3, *SHAPE, seed=1), [0.0, 1800.0, 3600.0], "blend")
    given = {"points": Points(), "a": Images(border, operator=blend, error=0.4)}
    options: dict[str, Any] = {"observation_error": None, "window": "30min"}
    analysis = assimilate(table, given, background=Cycled(first), **options)
    assert analysis["number_of_observations"].values.tolist() == [30 * 2 + 3, 30 + 1]
    assert (analysis["observation_quality"] == 0).all()


def test_values_observed_at_the_beginning_of_the_window_count() -> None:
    start = images(18 + 0 * numbers(1, *SHAPE, seed=3), [0.0])
    table = gauges(np.zeros(3)).assign(value=("report", np.full(3, 18.0)), variable=("report", ["sst"] * 3))
    late = record()
    late["sst"][:3] = np.nan
    plain = assimilate(late, None)
    for observation in (Images(start, error=0.1), Points(table), Images(start, operator=blend, error=0.1),
                        Points(table, operator=blend)):  # fmt: skip
        analysis = assimilate(late, observation)
        assert int(analysis["number_of_observations"].item()) == 30 + (30 if isinstance(observation, Images) else 3)
        assert float(abs(analysis["sst"] - plain["sst"])[0, 0].max()) > 0.5


# ---- nonlinear operators


def power(state: State) -> Tensor:
    return (state["sst"] / 10) ** 3


def product(state: State) -> Tensor:
    return state["sst"] * state["flux"]


def nonlinear() -> dict[str, Any]:
    cubes = images(3.4 + 0.3 * numbers(2, *SHAPE, seed=1), [0.0, 700.0], "cube")
    table = gauges().drop_vars("variable").assign(value=("report", numbers(7, seed=5)))
    table["std"] = table["std"] * 10
    return {
        "cube": Images(cubes, operator=power, error=Matern(0.1, length=2e3),
                       bias={"slope": Bias(0.0, 0.1, predictor=product)}),
        "product": Points(table, operator=product, norm="huber", threshold=1.2),
    }  # fmt: skip


@pytest.mark.parametrize("minimizer", ["lbfgs", "gauss_newton"])
def test_the_minimum_has_no_gradient(minimizer: str) -> None:
    """The gradient of J, written out anew, at the analysis of both minimisers."""
    data, given = record(), nonlinear()
    chosen = SHARP if minimizer == "lbfgs" else GaussNewton(outer=30, inner=60, residual=1e-8, ftol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AnalysisWarning)  # such a stopping rule is never met
        analysis = assimilate(data, given, minimizer=chosen)
    table = given["product"].dataset
    seconds = (table["time"].values - BEGIN) / np.timedelta64(1, "s")
    whitening = torch.linalg.cholesky(dense(Matern(0.1, length=2e3), 1, torch.ones(30, dtype=torch.bool)))

    def cost(control: Tensor) -> Tensor:
        states, slope = trajectory(control[:60]), 0.1 * control[60]
        found = 0.5 * control.square().sum()
        frames = torch.stack([at(states, frame, "sst") for frame in np.arange(4) * FRAME])
        residual = (frames - torch.from_numpy(data["sst"].values)) / 0.25
        found = found + 0.5 * residual[residual.isfinite()].square().sum()
        for number, time in enumerate((0.0, 700.0)):
            now = states_at(states, time)
            shown = (power(now) + slope * product(now)).flatten()
            departure = shown - torch.from_numpy(given["cube"].data.values[number]).flatten()
            found = (
                found + 0.5 * torch.linalg.solve_triangular(whitening, departure[:, None], upper=False).square().sum()
            )
        for number, t in enumerate(seconds):
            x, y = table["x"].values[number] / 1e3, table["y"].values[number] / 1e3
            index = min(int(t // 300), 5)
            ends = [bilinear(product(states[index + k])[0, 0], x, y) for k in (0, 1)]
            shown = torch.lerp(ends[0], ends[1], t / 300 - index)
            r = ((shown - table["value"].values[number]) / table["std"].values[number]).abs()
            found = found + torch.where(r <= 1.2, 0.5 * r**2, 1.2 * r - 0.72)
        return found

    first = background()
    parts = [(analysis[name].values[0, 0] - first[name].values) / STD[name] for name in STD]
    slope = analysis["cube_bias_slope"].item() / 0.1
    control = torch.from_numpy(np.concatenate([*(part.ravel() for part in parts), [slope]])).requires_grad_()
    value = cost(control)
    assert float(analysis["cost"][0, 1]) == pytest.approx(float(value.detach()), rel=1e-8)
    (gradient,) = torch.autograd.grad(value, control)
    (before,) = torch.autograd.grad(cost(zero := torch.zeros_like(control).requires_grad_()), zero)
    assert float(gradient.norm()) < 2e-5 * float(before.norm())


def test_the_gradient_of_the_problem_is_that_of_j(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taylor: the error of the linear approximation of J falls with the square of the step."""
    found: list[Problem] = []
    monkeypatch.setattr("xvar.core.methods.experiment.check_step", found.append)
    assimilate(record(), nonlinear(), minimizer=LBFGS(max_evaluations=400, ftol=1e-3))
    cost = Cost(found[0])
    orders = taylor_orders(
        lambda flat: cost.value(flat.view(1, -1)).sum(), 0.3 * random((61,), 1), random((61,), 2), largest=0.03
    )
    assert all(1.9 < order < 2.1 for order in orders)


# ---- quality control


def test_a_background_check_and_a_range_reject_gross_errors() -> None:
    """Rejected values are as missing ones, in images of the record and beside it, and at points."""
    data, other = record(), images(15 + numbers(2, *SHAPE, seed=3), [0.0, 700.0])
    table = gauges(np.linspace(0, 1700, 7)).assign(variable=("report", ["sst"] * 7))
    table["value"] = ("report", 15 + 0.1 * numbers(7, seed=8))
    clean = {"other": other.copy(), "table": table.copy(deep=True)}
    missing = data.copy(deep=True)
    missing["sst"][1, 1, 1] = np.nan
    clean["other"][0, 2, 2], clean["other"][1, 3, 4] = np.nan, np.nan
    clean["table"]["value"][2:4] = np.nan
    wrong = data.copy(deep=True)
    wrong["sst"][1, 1, 1] = 80.0
    other[0, 2, 2], other[1, 3, 4] = 90.0, -60.0
    table["value"][2], table["value"][3] = 60.0, 500.0
    check = {"background_check": 60.0}
    given = [
        Images(quality=check),
        Images(other, error=0.4, quality={**check, "range": (-50.0, 100.0)}),
        Points(table, quality={"background_check": 90.0, "range": (-50.0, 100.0)}),
    ]
    found = assimilate(wrong, given, save=("innovation", "residual"))
    expected = assimilate(missing, [Images(clean["other"], error=0.4), Points(clean["table"])], save=("residual",))
    for name in ("sst", "flux", "number_of_observations", "sst_residual"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-6)
    assert found["observation_quality"].values.tolist() == [0, 0, 6, 5, 0, 0, 0]
    counts = found["rejected_by_check"][0].to_pandas()
    names = found["check"].attrs["flag_meanings"].split()
    assert counts.iloc[0].tolist() == [int(name == "background_check") for name in names]
    assert counts.iloc[1].tolist() == [int(name in ("background_check", "range")) for name in names]
    assert counts.iloc[2].tolist() == [int(name in ("background_check", "range")) for name in names]
    off = dict.fromkeys(("background_check", "range"), False)
    kept = assimilate(wrong, [Images(other, error=0.4, quality=off), Points(table, quality=off)])
    assert int(kept["number_of_observations"].item()) == int(found["number_of_observations"].item()) + 5


# ---- faults


def detached(state: State) -> Tensor:
    return state["sst"].detach() + state["flux"]


def by_numpy(state: State) -> Tensor:
    return torch.from_numpy(np.sqrt(state["sst"].numpy()))


OTHER = images(15 + numbers(2, *SHAPE, seed=3), [0.0, 700.0])
MEAN = Uniform(0.3)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (lambda: Images(OTHER, operator=lambda s: s["wind"]), "operator-fails"),
        (lambda: Images(OTHER, operator=lambda s: s["sst"][..., :3, :]), "operator-shape"),
        (lambda: Images(OTHER, operator=lambda s: s["sst"].mean()), "operator-shape"),
        (lambda: Images(OTHER, operator=lambda s: None), "operator-shape"),
        (lambda: Images(OTHER, operator=detached, error=1.0), "operator-detached"),
        (lambda: Images(OTHER, operator=by_numpy, error=1.0), "operator-fails"),
        (lambda: Points(gauges(), operator=profile), "operator-shape"),
        (lambda: Images(OTHER, operator=3.0), "operator-not-callable"),
        (lambda: Images(operator=blend, reset="observation"), "operator-with-reset"),
        (lambda: Images(OTHER, coordinates="data"), "coordinates-without-operator"),
        (lambda: Images(OTHER, error=Matern(0.3, 2e3), norm="huber", threshold=1.0), "observation-error-norm"),
        (lambda: Images(OTHER, error=MEAN), "observation-error-singular"),
        (lambda: Images(OTHER, error=Diagonal(0.0)), "observation-error-singular"),
        (lambda: Images(OTHER, error=Channels(MATRIX)), "observation-error-channels"),
        (lambda: Images(OTHER, error=Matern(0.3, 200.0)), "correlation-length"),
        (lambda: elsewhere(own(numbers(2, 5, seed=1), [0.0, 600.0], "row"), profile, Matern(1.0, 3e3)),
         "observation-error-without-grid"),
        (lambda: Points(gauges(), error=Diagonal(0.3)), "points-error"),
        (lambda: Images(OTHER, bias={"a": Bias(0.0, 1.0, predictor=xr.DataArray([1.0, 2.0], dims="x"))}),
         "values-dimensions"),
        (lambda: Points(gauges(), bias={"a": Bias(0.0, 1.0, predictor="depth")}), "values-not-a-number"),
        (lambda: Images(OTHER, bias={"a": 1.0}), "calibration-not-a-number"),
        (lambda: Images(OTHER, bias={"a": Parameter(0.0, Matern(1.0, 3e3))}), "calibration-not-a-number"),
        (lambda: Images(OTHER, quality={"background_check": -1.0}), "background-check-limit"),
        (lambda: Images(OTHER, quality={"range": (3.0, 1.0)}), "range-limits"),
        (lambda: Images(OTHER, quality={"clouds": True}), "unknown-rule"),
        (lambda: Points(gauges(), quality={"fill_value": True}), "unknown-rule"),
        (lambda: Images(quality={"range": (0.0, 1.0)}), "quality-of-record"),
        (lambda: Images(OTHER, quality=3.0), "quality-type"),
    ],
)  # fmt: skip
def test_faults_of_operators_errors_bias_and_quality(source: Any, code: str) -> None:
    with pytest.raises(InputError) as caught:
        assimilate(record(), [source()])
    assert codes(caught.value) == [code]


def test_a_minimizer_that_is_none_is_an_input_fault() -> None:
    for wrong in ("GN", LBFGS):
        with pytest.raises(InputError) as caught:
            assimilate(record(), minimizer=wrong)
        assert codes(caught.value) == ["option-value"]
