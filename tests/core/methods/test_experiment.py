"""4D-Var of the user's own making: the pieces alone, and through the public call on records of a few points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

import xvar  # noqa: F401 -- the accessor
from tests.cf.strict import strict_cf
from tests.core.numerics import random, smooth
from tests.faults.codes import codes
from tests.records import drifting
from xvar.control import Parameter
from xvar.core.comparison import Comparison
from xvar.core.covariance import Diagonal, Diffusion, Tikhonov
from xvar.core.grid import Grid
from xvar.core.methods.experiment import Experiment
from xvar.core.methods.frames import Frames, first_known
from xvar.core.methods.model_error import ModelError
from xvar.core.minimize import LBFGS
from xvar.core.norm import PseudoHuber
from xvar.core.problem import frame_steps
from xvar.errors import AnalysisWarning, InputError
from xvar.observation import Images

GRID = Grid((5, 6), (1e3, 1e3))
TIMES = (0.0, 600.0, 1200.0, 1800.0)
FRAME = 600.0
TIGHT = LBFGS(max_evaluations=2000, gtol=1e-13, ftol=0.0, history_size=40)

State = dict[str, Tensor]
Array = NDArray[np.float64]


def stays(state: State, seconds: float) -> State:
    return dict(state)


def record(values: Array, name: str = "sst", units: str = "degree_Celsius") -> xr.Dataset:
    """A record (time, y, x) with a frame each ten minutes."""
    frames, rows, columns = values.shape
    time = np.datetime64("2020-01-01", "ns") + (np.arange(frames) * FRAME * 1e9).astype("timedelta64[ns]")
    return xr.Dataset(
        {name: (("time", "y", "x"), values, {"units": units})},
        {
            "time": ("time", time),
            "y": ("y", np.arange(rows) * 1e3, {"units": "m", "standard_name": "projection_y_coordinate"}),
            "x": ("x", np.arange(columns) * 1e3, {"units": "m", "standard_name": "projection_x_coordinate"}),
        },
    )


def on_grid(fields: dict[str, Array], like: xr.Dataset) -> xr.Dataset:
    return xr.Dataset({name: (("y", "x"), values) for name, values in fields.items()}, {"y": like.y, "x": like.x})


def numbers(*shape: int, seed: int) -> Array:
    return random(shape, seed).numpy()


# ---- the pieces


def images(values: Tensor, std: Tensor | None = None, **options: Any) -> Frames:
    return Frames("x", values, TIMES, std, **options)


def test_errors_that_are_not_stated_are_a_share_of_the_deviation_of_each_window() -> None:
    frames = 5 + torch.tensor([1.0, 10.0, 0.0], dtype=torch.float64).view(3, 1, 1, 1) * random((3, 4, *GRID.shape), 1)
    frames[1, 2, 1, 1] = torch.nan
    problem = Experiment(stays, {}).problem([images(frames, share=0.3)], {}, TIMES, GRID)
    for window in (0, 1):
        spread = float(frames[window][frames[window].isfinite()].std(correction=0))
        for one in problem.observations:
            assert torch.allclose(one.std[window], torch.tensor(0.3 * spread, dtype=torch.float64), rtol=1e-12)
    assert all((one.std[2] == 1).all() for one in problem.observations)  # nothing varies
    # that of the first frame as a background is the same share
    own = problem.background_error["x"].std
    assert torch.allclose(own.flatten(), problem.observations[0].std[:, 0, 0, 0], rtol=1e-12)


def test_a_stated_error_is_taken_as_it_is() -> None:
    frames, std = random((2, 4, *GRID.shape), 2), 1 + random((2, 4, *GRID.shape), 3).square()
    experiment = Experiment(stays, {"x": Diagonal(2.0)})
    for given in (std, torch.tensor(0.7, dtype=torch.float64)):
        problem = experiment.problem([images(frames, given)], {}, TIMES, GRID)
        for index, one in enumerate(problem.observations, 1):
            assert torch.equal(one.std, given.expand(frames.shape)[:, index, None])
    assert problem.background_error["x"] == Diagonal(2.0) or float(problem.background_error["x"].std) == 2.0


def test_what_is_compared_is_transformed_before_its_error_is_scaled() -> None:
    frames = random((1, 4, *GRID.shape), 4).square() * 100
    source = images(frames, comparison=Comparison(transform=torch.sqrt, threshold=1.5))
    problem = Experiment(stays, {}).problem([source], {}, TIMES, GRID)
    for index, one in enumerate(problem.observations, 1):
        assert torch.equal(one.values, frames[:, index, None].sqrt())
        assert float(one.std.max()) == pytest.approx(0.2 * float(frames.sqrt().std(correction=0)), rel=1e-12)
        assert torch.equal(one.operator({"x": frames[:, :1]}), frames[:, :1].sqrt())
        assert one.norm == PseudoHuber(1.5)


def test_the_first_frame_is_the_background_or_an_observation_never_both() -> None:
    frames = random((2, 4, *GRID.shape), 5)
    frames[0, 0, 1, 1] = torch.nan
    seen = [int(frames[window, 1:].isfinite().sum()) for window in (0, 1)]
    experiment = Experiment(stays, {"x": Diagonal(1.0)})
    problem = experiment.problem([images(frames)], {}, TIMES, GRID)
    assert [one.time for one in problem.observations] == list(TIMES[1:])
    assert problem.number_of_observations().tolist() == seen
    assert torch.equal(problem.background["x"][1, 0], frames[1, 0])
    assert float(problem.background["x"][0, 0, 1, 1]) == float(frames[0, 1, 1, 1])  # a hole is filled from later frames
    background = {"x": torch.zeros(2, 1, *GRID.shape).double()}
    problem = experiment.problem([images(frames)], background, TIMES, GRID)
    assert [one.time for one in problem.observations] == list(TIMES)
    assert problem.number_of_observations().tolist() == [seen[0] + 29, seen[1] + 30]
    assert torch.equal(problem.background["x"], background["x"])


def test_of_two_sources_the_first_one_gives_the_background() -> None:
    one, other = (images(random((1, 4, *GRID.shape), seed)) for seed in (5, 6))
    problem = Experiment(stays, {"x": Diagonal(1.0)}).problem([one, other], {}, TIMES, GRID)
    assert torch.equal(problem.background["x"][:, 0], one.values[:, 0])
    assert [part.time for part in problem.observations] == [*TIMES[1:], *TIMES]


def test_the_first_known_value() -> None:
    frames = torch.tensor(
        [[1.0, torch.nan, torch.nan, torch.nan], [5.0, 2.0, torch.nan, torch.inf], [6.0, 7.0, 3.0, torch.nan]]
    )
    found = first_known(frames[None, :, None])
    assert found.shape == (1, 1, 1, 4)
    assert found.flatten().tolist() == [1.0, 2.0, 3.0, 2.0]  # and the mean where nothing is known
    assert first_known(torch.full((1, 2, 1, 2), torch.nan)).tolist() == [[[[0.0, 0.0]]]]


@pytest.mark.parametrize(
    ("forcing_interval", "groups"),
    [
        ("step", ((0,), (1,), (2,), (3,), (4,), (5,), (6,))),
        ("interval", ((0, 1), (2, 3, 4), (5, 6))),
        ("window", ((0, 1, 2, 3, 4, 5, 6),)),
    ],
)
def test_in_which_steps_a_model_error_acts(forcing_interval: Any, groups: tuple[tuple[int, ...], ...]) -> None:
    times = (0.0, 500.0, 1300.0, 1900.0)
    experiment = Experiment(
        stays, {"x": Diagonal(1.0)}, model_error={"x": Diagonal(1.0)}, forcing_interval=forcing_interval, step=300.0
    )
    problem = experiment.problem([Frames("x", random((1, 4, *GRID.shape), 6), times)], {}, times, GRID)
    assert problem.model_error is not None
    assert problem.model_error.steps == groups
    assert problem.steps == pytest.approx((250, 250, 800 / 3, 800 / 3, 800 / 3, 300, 300))


def test_an_unknown_forcing_interval_is_rejected() -> None:
    with pytest.raises(InputError) as caught:
        ModelError(Diagonal(1.0), forcing_interval="weekly")  # type: ignore[arg-type]
    assert codes(caught.value) == ["unknown-choice"]


@pytest.mark.parametrize("parts", range(1, 60))
def test_a_step_that_is_a_share_of_a_frame_is_taken_so_many_times(parts: int) -> None:
    """300 s over 300 / 7 s is a little more than 7 in the numbers of a computer."""
    for frame in (300.0, 3600.0, 86400.0, 0.3):
        steps = frame_steps((0.0, frame), frame / parts)
        assert len(steps) == parts
        assert sum(steps) == pytest.approx(frame, rel=1e-12)
    assert max(frame_steps((0.0, 300.0), 299.0)) == 150


# ---- the user's own linear model, through the public call


@dataclass(frozen=True)
class Heat:
    """Temperature that a flux warms, and that mixes with its neighbour; the flux decays. Linear."""

    step: float | None = None
    components: ClassVar = {"sst": ("sst",), "flux": ("flux",)}

    def __call__(self, state: State, seconds: float) -> State:
        sst, flux = state["sst"], state["flux"]
        mixed = sst + 0.1 * (sst.roll(1, -1) - sst)
        return {"sst": mixed + seconds / FRAME * flux, "flux": (1 - 0.2 * seconds / FRAME) * flux}


def matrix(model: Callable[[State, float], State], seconds: float, names: tuple[str, ...]) -> Array:
    """A linear model as a matrix of its state, flat."""
    size = 30 * len(names)
    basis = torch.eye(size, dtype=torch.float64).view(size, len(names), 1, *GRID.shape)
    after = model({name: basis[:, index] for index, name in enumerate(names)}, seconds)
    return torch.stack([after[name] for name in names], dim=1).reshape(size, size).T.numpy()


STD = {"sst": 0.8, "flux": 0.3}
NOISE = 0.25


def heat_record(holes: bool = True) -> tuple[xr.Dataset, xr.Dataset]:
    values = 15 + numbers(4, 5, 6, seed=7)
    if holes:
        values[1, 2, 2:4] = np.nan
        values[3, 0] = np.nan
    data = record(values)
    first = {"sst": 15 + 0.5 * numbers(5, 6, seed=8), "flux": 0.2 * numbers(5, 6, seed=9)}
    return data, on_grid(first, data)


def dense(
    data: xr.Dataset,
    background: xr.Dataset,
    names: tuple[str, ...],
    model: Any,
    q: dict[str, float],
    groups: list[list[int]],
    steps: list[float],
) -> tuple[list[Array], list[Array]]:
    """States at the frames, and model errors in a second of each group of steps, by linear algebra in one go."""
    size = 30 * len(names)
    first = np.concatenate([background[name].values.ravel() for name in names])
    deviation = [np.repeat([STD[name] for name in names], 30)]
    for group in groups:
        total = sum(steps[index] for index in group)
        # a constant in time; its sum over T has the variance Q T, so in a second it has Q / T
        deviation.append(np.repeat([np.sqrt(q.get(name, 0.0) / total) for name in names], 30))
    unknowns = size * (1 + len(groups))
    now = np.zeros((size, unknowns))
    now[:, :size] = np.eye(size)
    mean, states, means = first, [now], [first]
    for index, step in enumerate(steps):
        transition = matrix(model, step, names)
        now, mean = transition @ now, transition @ mean
        for number, group in enumerate(groups):
            if index in group:
                now[:, size * (number + 1) : size * (number + 2)] += step * np.eye(size)
        states.append(now)
        means.append(mean)
    per_frame = len(steps) // 3
    rows, misfits = [], []
    for frame in range(4):
        seen = np.isfinite(data["sst"].values[frame].ravel())
        rows.append(states[frame * per_frame][:30][seen])
        misfits.append(data["sst"].values[frame].ravel()[seen] - means[frame * per_frame][:30][seen])
    operator, misfit = np.concatenate(rows), np.concatenate(misfits)
    variance = np.concatenate(deviation) ** 2
    spread = operator * variance @ operator.T + NOISE**2 * np.eye(len(operator))
    found = variance * (operator.T @ np.linalg.solve(spread, misfit))
    analysed = [means[k * per_frame] + states[k * per_frame] @ found for k in range(4)]
    return analysed, list(found[size:].reshape(len(groups), size))


def assimilate(data: xr.Dataset, background: xr.Dataset, model: Any, **options: Any) -> xr.Dataset:
    return data.var4d.assimilate(
        dynamics=model,
        background=background,
        background_error={name: Diagonal(std) for name, std in STD.items()},
        observation_error=NOISE,
        minimizer=TIGHT,
        dtype="float64",
        window=4,
        **options,
    )


def close(found: xr.DataArray, expected: Array, gate: float = 1e-6) -> None:
    assert float(np.abs(found.values.ravel() - expected).max()) <= gate * float(np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_linear_model_of_the_users_own_gives_the_best_linear_unbiased_estimate(dtype: str) -> None:
    data, background = heat_record()
    model = Heat()
    analysis = data.var4d.assimilate(
        dynamics=model,
        background=background,
        background_error={name: Diagonal(std) for name, std in STD.items()},
        observation_error=NOISE,
        minimizer=TIGHT,
        dtype=dtype,
    )
    states, _ = dense(data, background, ("sst", "flux"), model, {}, [], [FRAME] * 3)
    gate = 1e-6 if dtype == "float64" else 1e-3
    for frame in range(4):
        close(analysis["sst"][0, frame], states[frame][:30], gate)
        close(analysis["flux"][0, frame], states[frame][30:], gate)
    assert int(analysis["number_of_observations"][0]) == int(np.isfinite(data["sst"]).sum())
    assert float(analysis["cost"][0, 1]) < 0.5 * float(analysis["cost"][0, 0])
    # J at the minimum is that of the algebra
    parts = [((states[0][:30] - background["sst"].values.ravel()) / STD["sst"]) ** 2]
    parts.append(((states[0][30:] - background["flux"].values.ravel()) / STD["flux"]) ** 2)
    assert float(analysis["cost_background"][0, 1]) == pytest.approx(
        0.5 * sum(part.sum() for part in parts), rel=1e3 * gate
    )


Q = {"sst": 2e-5, "flux": 5e-6}
GROUPS = {
    "step": [[0], [1], [2], [3], [4], [5]],
    "interval": [[0, 1], [2, 3], [4, 5]],
    "window": [[0, 1, 2, 3, 4, 5]],
}


@pytest.mark.parametrize("forcing_interval", GROUPS)
def test_with_model_error_it_is_the_best_estimate_of_state_and_error(forcing_interval: Any) -> None:
    data, background = heat_record()
    model = Heat(step=FRAME / 2)
    error = ModelError({name: Diagonal(np.sqrt(q)) for name, q in Q.items()}, forcing_interval=forcing_interval)
    analysis = assimilate(data, background, model, constraint="weak", model_error=error)
    states, forcing = dense(data, background, ("sst", "flux"), model, Q, GROUPS[forcing_interval], [FRAME / 2] * 6)
    for frame in range(4):
        close(analysis["sst"][0, frame], states[frame][:30])
        close(analysis["flux"][0, frame], states[frame][30:])
    assert analysis.sizes["interval"] == len(forcing)
    for index, expected in enumerate(forcing):
        close(analysis["sst_forcing"][0, index], expected[:30], 1e-5)
        close(analysis["flux_forcing"][0, index], expected[30:], 1e-5)


@pytest.mark.parametrize("forcing_interval", GROUPS)
def test_when_a_model_error_acts_and_in_which_units(forcing_interval: Any) -> None:
    data, background = heat_record(holes=False)
    error = ModelError({"sst": Diagonal(np.sqrt(Q["sst"]))}, forcing_interval=forcing_interval)
    analysis = assimilate(data, background, Heat(step=FRAME / 2), constraint="weak", model_error=error)
    shares = {"step": np.arange(6) * 300 + 150, "interval": [300, 900, 1500], "window": [900]}[forcing_interval]
    since = (analysis["forcing_time"] - data["time"][0]) / np.timedelta64(1, "s")
    np.testing.assert_allclose(since[0], shares)
    assert analysis["sst_forcing"].dims == ("window", "interval", "y", "x")
    assert analysis["sst_forcing"].attrs["units"] == "K s-1"
    assert "flux_forcing" not in analysis
    # The trajectory is the model's with the forcing, for as long as it acts.
    state = {name: torch.from_numpy(analysis[name].values[0, 0])[None, None] for name in ("sst", "flux")}
    forcing = torch.from_numpy(analysis["sst_forcing"].values[0])
    index = {"step": range(6), "interval": (0, 0, 1, 1, 2, 2), "window": (0,) * 6}[forcing_interval]
    for step, number in enumerate(index):
        state = Heat()(state, 300.0)
        state["sst"] = state["sst"] + 300 * forcing[number]
        if step % 2:
            np.testing.assert_allclose(state["sst"][0, 0], analysis["sst"][0, (step + 1) // 2], atol=1e-9)


def test_the_unit_of_a_forcing_is_that_of_its_variable_in_a_second() -> None:
    values = 15 + 2 * smooth((1, 4, 12, 10), 10)[0].numpy()
    prior = Tikhonov(gradient=1e8, mean_std=0.1)
    with pytest.warns(AnalysisWarning, match="not converged"):
        analysis = record(values).var4d.assimilate(
            dynamics="advection",
            constraint="weak",
            model_error={"velocity": prior, "sst": Diagonal(1e-3)},
            dtype="float64",
            minimizer=LBFGS(max_evaluations=3),
        )
    assert analysis["u_forcing"].attrs["units"] == analysis["v_forcing"].attrs["units"] == "m s-2"
    assert analysis["sst_forcing"].attrs["units"] == "K s-1"
    assert "standard_name" not in analysis["u_forcing"].attrs
    data = record(values, "salinity", "1e-3")
    other = data.var4d.assimilate(
        dynamics=stays,
        background=on_grid({"salinity": values[0]}, data),
        background_error=Diagonal(1.0),
        model_error=Diagonal(1e-3),
        constraint="weak",
    )
    assert other["salinity_forcing"].attrs["units"] == "(1e-3) s-1"
    assert other.sizes["interval"] == 3  # what is not said acts in intervals


@pytest.mark.parametrize("forcing_interval", GROUPS)
def test_one_q_in_a_second_whatever_the_steps(forcing_interval: Any) -> None:
    """Of a model that only stays, so that the steps change nothing else."""
    data, _ = heat_record()
    background = on_grid({"sst": 15 + 0.5 * numbers(5, 6, seed=8)}, data)

    @dataclass(frozen=True)
    class Stays:
        step: float

        def __call__(self, state: State, seconds: float) -> State:
            return dict(state)

    analyses = [
        data.var4d.assimilate(
            dynamics=Stays(FRAME / parts),
            background=background,
            background_error=Diagonal(0.8),
            observation_error=NOISE,
            model_error=ModelError(Diagonal(5e-3), forcing_interval=forcing_interval),
            constraint="weak",
            minimizer=TIGHT,
            dtype="float64",
        )
        for parts in (1, 2, 7)
    ]
    for other in analyses[1:]:
        np.testing.assert_allclose(other["sst"], analyses[0]["sst"], atol=1e-6)
    moved = analyses[0]["sst"][0, -1] - analyses[0]["sst"][0, 0]
    assert float(np.abs(moved).max()) > 0.05


def test_the_weak_constraint_comes_nearer_to_the_observations() -> None:
    data, background = heat_record()
    strong = assimilate(data, background, Heat())
    costs = [float(strong["cost_observation"][0, 1])]
    totals = [float(strong["cost"][0, 1])]
    for q in (1e-7, 1e-5, 1e-3):
        weak = assimilate(data, background, Heat(), constraint="weak", model_error={"sst": Diagonal(np.sqrt(q))})
        costs.append(float(weak["cost_observation"][0, 1]))
        totals.append(float(weak["cost"][0, 1]))
        assert float(weak["cost_model_error"][0, 1]) > 0
        parts = sum(weak[f"cost_{name}"] for name in ("background", "model_error", "observation"))
        np.testing.assert_allclose(parts, weak["cost"], rtol=1e-12)
    assert costs == sorted(costs, reverse=True)
    assert totals == sorted(totals, reverse=True)
    assert costs[-1] < 0.2 * costs[0]
    assert costs[1] == pytest.approx(costs[0], rel=0.1)


@pytest.mark.filterwarnings("ignore:the motion leaves the grid")  # images of noise
def test_each_window_scales_its_own_error_and_has_its_own_background() -> None:
    values = 15 + numbers(7, 5, 6, seed=11)
    values[3:] = 15 + 10 * (values[3:] - 15)
    analysis = record(values).var4d.assimilate(window=4, stride=3, dynamics="steady", dtype="float64")
    alone = record(values[3:]).var4d.assimilate(window=4, dynamics="steady", dtype="float64")
    for name in ("sst", "u", "cost"):
        np.testing.assert_array_equal(analysis[name][1], alone[name][0])
    scaled = record(15 + 0.5 * (values - 15)).var4d.assimilate(window=4, stride=3, dynamics="steady", dtype="float64")
    np.testing.assert_allclose(scaled["cost"][:, 0], analysis["cost"][:, 0], rtol=1e-9)


def test_where_only_the_first_frame_was_seen_it_is_the_analysis() -> None:
    values = 15 + numbers(4, 5, 6, seed=12)
    values[1:] = np.nan
    analysis = record(values).var4d.assimilate(dynamics="advection", dtype="float64")
    assert int(analysis["number_of_observations"][0]) == 0
    assert int(analysis["status"][0]) == 3
    np.testing.assert_array_equal(analysis["u"], 0)
    np.testing.assert_allclose(analysis["sst"][0, 0], values[0], atol=1e-12)
    assert float(analysis["cost"][0, 0]) == float(analysis["cost"][0, 1]) == 0


def test_direct_insertion_replaces_the_variable_where_it_was_seen() -> None:
    data, background = heat_record()
    analysis = assimilate(data, background, Heat(), observation=Images(reset="observation"))
    known = np.isfinite(data["sst"].values)
    np.testing.assert_array_equal(analysis["sst"].values[0][known], data["sst"].values[known])
    assert np.isfinite(analysis["sst"].values[0][~known]).all()


# ---- what is saved on request


def run(state: dict[str, Array], frames: int = 4) -> list[Array]:
    """The temperature of the model at the frames."""
    now = {name: torch.from_numpy(np.array(state[name]))[None, None] for name in ("sst", "flux")}
    found = [now["sst"][0, 0].numpy()]
    for _ in range(frames - 1):
        now = Heat()(now, FRAME)
        found.append(now["sst"][0, 0].numpy())
    return found


@pytest.mark.parametrize("lazy", [False, True])
def test_increment_innovation_and_residual_of_a_model_of_ones_own(tmp_path: Path, lazy: bool) -> None:
    data, background = heat_record()
    words = ("increment", "innovation", "residual")
    analysis = assimilate(data.chunk(time=2) if lazy else data, background, Heat(), save=words).load()
    for name in ("sst", "flux"):
        expected = analysis[name][0, 0] - background[name]
        assert float(np.abs(expected).max()) > 0.01
        np.testing.assert_allclose(analysis[f"{name}_increment"][0], expected, atol=1e-12)
    before = run({name: background[name].values for name in STD})
    np.testing.assert_allclose(analysis["sst_innovation"][0], data["sst"] - np.stack(before), atol=1e-12)
    np.testing.assert_allclose(analysis["sst_residual"][0], data["sst"] - analysis["sst"][0].values, atol=1e-12)
    for name in ("sst_increment", "sst_innovation", "sst_residual", "sst_observation_error"):
        assert analysis[name].attrs["units"] == "degree_Celsius"
        assert analysis[name].attrs["units_metadata"] == "temperature: difference"
    analysis.to_netcdf(tmp_path / "saved.nc")
    status, complaints = strict_cf(tmp_path / "saved.nc")
    assert status == 0, complaints
    plain = assimilate(data, background, Heat())
    assert set(analysis.data_vars) - set(plain.data_vars) == {
        "sst_increment",
        "flux_increment",
        "sst_innovation",
        "sst_residual",
        "sst_observation_error",
    }


def test_departures_under_the_weak_constraint_are_of_the_analysed_trajectory() -> None:
    """The background has no model error; what is in no control has no increment."""
    data, background = heat_record()
    analysis = data.var4d.assimilate(
        dynamics=Heat(),
        background=background,
        background_error={"sst": Diagonal(STD["sst"])},
        observation_error=NOISE,
        constraint="weak",
        model_error={"sst": Diagonal(0.02)},
        minimizer=TIGHT,
        dtype="float64",
        save=("increment", "innovation", "residual"),
    )
    assert float(np.abs(analysis["sst_forcing"]).max()) > 0
    np.testing.assert_array_equal(analysis["flux_increment"], 0)
    before = run({name: background[name].values for name in STD})
    np.testing.assert_allclose(analysis["sst_innovation"][0], data["sst"] - np.stack(before), atol=1e-12)
    np.testing.assert_allclose(analysis["sst_residual"][0], data["sst"] - analysis["sst"][0].values, atol=1e-12)


def test_departures_are_of_what_the_instrument_shows_before_any_transform() -> None:
    data, background = heat_record()
    offset = Parameter(prior=1.0, error=0.5, units="K")
    analysis = assimilate(
        data,
        background,
        Heat(),
        observation=Images(offset=offset, transform=torch.sqrt),
        save=("innovation", "residual"),
    )
    before = np.stack(run({name: background[name].values for name in STD}))
    np.testing.assert_allclose(analysis["sst_innovation"][0], data["sst"] - (before + 1), atol=1e-12)
    shown = analysis["sst"][0].values + analysis["offset"][0].values[:, None, None]
    np.testing.assert_allclose(analysis["sst_residual"][0], data["sst"] - shown, atol=1e-12)


def test_departures_are_taken_before_the_observation_replaces_the_state() -> None:
    data, background = heat_record(holes=False)
    analysis = assimilate(data, background, Heat(), observation=Images(reset="observation"), save=("residual",))
    np.testing.assert_array_equal(analysis["sst"][0], data["sst"])
    before = analysis["sst"].values[0, 2]
    state = {
        "sst": torch.from_numpy(before)[None, None],
        "flux": torch.from_numpy(analysis["flux"].values[0, 2])[None, None],
    }
    expected = data["sst"].values[3] - Heat()(state, FRAME)["sst"][0, 0].numpy()
    np.testing.assert_allclose(analysis["sst_residual"][0, 3], expected, atol=1e-12)


def test_what_is_saved_of_the_papers_model_is_at_the_beginning_of_the_window() -> None:
    """Its control is the motion at the first frame, and its background rest: images that stay as the first."""
    y, x = np.mgrid[:12, :16]
    values = np.stack([15 + np.sin(0.5 * (x - 0.5 * k)) * np.cos(0.4 * y) for k in range(4)])
    analysis = record(values).var4d.assimilate(dynamics="advection", dtype="float64", save=("increment", "innovation"))
    assert float(np.abs(analysis["u_increment"]).max()) > 0.1
    np.testing.assert_array_equal(analysis["u_increment"][0], analysis["u"][0, 0])
    np.testing.assert_allclose(analysis["sst_innovation"][0], values - values[0], atol=1e-12)
    assert analysis["u_increment"].attrs["units"] == "m s-1"


# ---- land


def test_land_reaches_covariances_of_ones_own() -> None:
    """A diffusion does not leak through a wall of land; neither does Q."""
    values = np.zeros((2, 9, 21))
    values[:, :, 11:] = np.nan
    data, analyses = record(values, "height", "m"), {}
    first = on_grid({"height": np.full((9, 21), -1.0)}, data)
    wall = xr.DataArray(np.zeros((9, 21), dtype=bool), dims=("y", "x"))
    wall[:, 10] = True
    for name, land in (("open", ~wall & wall), ("closed", wall)):
        analyses[name] = data.var4d.assimilate(
            dynamics=stays,
            background=first,
            background_error={"height": Diffusion(1.0, 4e3)},
            constraint="weak",
            model_error={"height": Diffusion(0.01, 4e3)},
            observation_error=0.1,
            land=land,
            save=("increment",),
        )
    beyond = {"x": 13e3, "y": 4e3}
    for name in ("height_increment", "height_forcing"):
        leak = {key: float(np.abs(analysis[name].sel(beyond)).max()) for key, analysis in analyses.items()}
        near = float(np.abs(analyses["closed"][name].sel(x=8e3, y=4e3)).max())
        assert leak["open"] > 0.1 * near > 0, name
        assert leak["closed"] < 1e-6 * near, name
    assert np.isnan(analyses["closed"]["height_increment"].sel(x=10e3)).all()


# ---- forecasts by the user's model


def test_a_forecast_goes_on_with_the_users_model() -> None:
    data, background = heat_record()
    analysis = assimilate(data, background, Heat())
    forecast = analysis.var4d.forecast("30min", dynamics=Heat())
    state = {name: torch.from_numpy(analysis[name].values[0, -1])[None, None] for name in ("sst", "flux")}
    for index in range(3):
        state = Heat()(state, FRAME)
        for name in ("sst", "flux"):
            np.testing.assert_allclose(forecast[name].values[0, index], state[name][0, 0], rtol=1e-12)
    fine = analysis.var4d.forecast("30min", dynamics=Heat(step=FRAME / 3))
    state = {name: torch.from_numpy(analysis[name].values[0, -1])[None, None] for name in ("sst", "flux")}
    for _ in range(9):
        state = Heat()(state, FRAME / 3)
    np.testing.assert_allclose(fine["sst"].values[0, -1], state["sst"][0, 0], rtol=1e-12)


def test_a_model_of_ones_own_is_in_no_file() -> None:
    data, background = heat_record()
    analysis = assimilate(data, background, Heat())
    with pytest.raises(InputError) as caught:
        analysis.var4d.forecast("30min")
    assert codes(caught.value) == ["model-not-stated"]


@pytest.mark.parametrize("dynamics", ["steady", "advection"])
def test_from_rest_the_motion_is_found_as_from_near_it(dynamics: str) -> None:
    """At rest J bends down along its slope: a step by the slope alone would carry the images off the grid."""
    data = drifting(size=24)
    still = data["sst"].isel(time=0, drop=True)
    near = xr.Dataset({"sst": still, "u": 0 * still + 8.0, "v": 0 * still - 4.0})
    for component in ("u", "v"):
        near[component].attrs = {"units": "m s-1"}
    rest, informed = (data.var4d.assimilate(dynamics=dynamics, background=given) for given in (near[["sst"]], near))
    inner = {"window": 0, "step": -1, "y": slice(8, -8), "x": slice(8, -8)}
    for component, true in (("u", 10.0), ("v", -5.0)):
        assert float(rest[component].isel(inner).mean()) == pytest.approx(true, rel=0.1)
    assert float(rest["cost_observation"][0, 1]) == pytest.approx(float(informed["cost_observation"][0, 1]), rel=0.1)
