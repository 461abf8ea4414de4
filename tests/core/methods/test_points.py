from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.numerics import adjoint_error, difference_error, random, smooth
from tests.faults.codes import codes
from xvar.core.comparison import Comparison
from xvar.core.covariance import Diagonal
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import Grid
from xvar.core.methods.experiment import Experiment
from xvar.core.methods.frames import Frames
from xvar.core.methods.points import PointTable, PointValues, Remember
from xvar.core.minimize import LBFGS
from xvar.errors import InputError

GRID = Grid((6, 8), (1e3, 1e3))
SOURCES = (("a", 0), ("b", 0), ("b", 1))


def turning(state: State, seconds: float) -> State:
    """Linear, and of a kind that mixes components."""
    a, b = state["a"], state["b"]
    return {"a": a + seconds * 1e-2 * b[:, :1], "b": b - seconds * 1e-2 * torch.cat([a, b[:, :1]], dim=1)}


def state(windows: int = 1, dtype: torch.dtype = torch.float64) -> State:
    return {"a": smooth((windows, 1, 6, 8), 1, dtype), "b": smooth((windows, 2, 6, 8), 2, dtype)}


def table(times: list[float], seed: int = 0, rule: Any = "linear") -> PointTable:
    generator = torch.Generator().manual_seed(seed)
    count = len(times)
    position = torch.rand(2, count, generator=generator, dtype=torch.float64) * torch.tensor([[7.0], [5.0]])
    return PointTable(
        time=torch.tensor(times, dtype=torch.float64),
        position=position,
        which=torch.arange(count) % 3,
        value=random((count,), 5),
        std=0.1 + torch.rand(count, generator=generator, dtype=torch.float64),
        components=SOURCES,
        comparison=Comparison(time_interpolation=rule),
    )


def bilinear(field: Tensor, position: Tensor) -> Tensor:
    """By hand."""
    x, y = position
    i, j = x.floor().clamp(max=6).long(), y.floor().clamp(max=4).long()
    p, q = x - i, y - j
    return (1 - q) * ((1 - p) * field[j, i] + p * field[j, i + 1]) + q * (
        (1 - p) * field[j + 1, i] + p * field[j + 1, i + 1]
    )


TIMES = [0.0, 3.0, 10.0, 12.5, 17.5, 29.0, 30.0, 30.0, 2.0]


@pytest.mark.parametrize("rule", ["linear", "nearest"])
def test_each_point_is_compared_at_its_own_time_and_place(rule: Any) -> None:
    steps, points = (10.0, 10.0, 10.0), table(TIMES, rule=rule)
    states = trajectory(Remember(turning).bind(GRID, dtype=torch.float64, device=torch.device("cpu")), state(), steps)
    observations = points.observations(steps, None)
    assert [one.time for one in observations] == [0, 10, 20, 30]
    assert sum(int(one.count()) for one in observations) == len(TIMES)
    found = points.equivalents(states, steps, None)
    for index, time in enumerate(TIMES):
        key, component = SOURCES[int(points.which[index])]
        first = min(int(time // 10), 2)
        share = time / 10 - first
        if rule == "nearest":
            share = float(share >= 0.5)
        before, after = (bilinear(states[first + k][key][0, component], points.position[:, index]) for k in (0, 1))
        assert float(found[index]) == pytest.approx(float((1 - share) * before + share * after), abs=1e-12)
    assert not found.isnan().any()


def operators() -> tuple[PointValues, State]:
    operator = table(TIMES).observations((30.0,), None)[-1].operator
    assert isinstance(operator, PointValues)
    return operator, {**state(2), **{f"{key} before": 0.5 * v for key, v in state(2).items()}}


def test_adjoint_of_the_operator() -> None:
    operator, given = operators()
    shapes = {key: values.shape for key, values in given.items()}

    def function(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes.values()])
        return operator({key: part.view(shapes[key]) for key, part in zip(shapes, parts, strict=True)}).flatten()

    point = torch.cat([values.flatten() for values in given.values()])
    dual = random(function(point).shape, 3)
    assert adjoint_error(function, point, random(point.shape, 4), dual) < 1e-13
    assert difference_error(function, point, random(point.shape, 4), dual) < 1e-7


def test_points_on_a_coarser_grid_are_where_they_were() -> None:
    operator, _ = operators()
    x, y = torch.arange(8, dtype=torch.float64), torch.arange(6, dtype=torch.float64)[:, None]
    fine = {"a": (x + 10 * y)[None, None], "b": torch.stack([x + 0 * y, y + 0 * x])[None]}
    coarse = {key: torch.nn.functional.avg_pool2d(values, 2) for key, values in fine.items()}
    for one, other in ((fine, coarse),):
        kept = [{**s, **{f"{key} before": values for key, values in s.items()}} for s in (one, other)]
        inside = torch.cat(
            [((p[0] >= 0.5) & (p[0] <= 6.5) & (p[1] >= 0.5) & (p[1] <= 4.5)) for p in operator.positions]
        )
        difference = operator(kept[0]) - operator.coarsen(2)(kept[1])
        assert float(difference[..., inside].abs().max()) < 1e-12
        assert int(inside.sum()) >= 4


@pytest.mark.parametrize("weak", [False, True])
def test_the_analysis_is_the_best_linear_estimate(weak: bool) -> None:
    """A linear model, three variables, nine points: against the dense solution."""
    seconds, background = [0.0, 20.0, 30.0], state()
    points = table(TIMES)
    experiment = Experiment(
        dynamics=turning,
        background_error={"a": Diagonal(1.0), "b": Diagonal(0.5)},
        model_error={"a": Diagonal(0.05)} if weak else {},
        step=10.0,
        minimizer=LBFGS(max_evaluations=200, gtol=1e-9, ftol=1e-14),
    )
    outcome = experiment.analyse([points], background, seconds, GRID)
    fields, (found,) = outcome.fields, outcome.points
    assert set(fields) == {"a", "b", "a_increment", "b_increment"} | ({"a_forcing"} if weak else set())
    assert [fields["a"].shape[1], *([fields["a_forcing"].shape[1]] if weak else [])] == [3, *([2] if weak else [])]
    assert int(outcome.numbers["number_of_observations"]) == 9

    def equivalents(control: Tensor) -> Tensor:
        da, db, *rest = control.split([48, 96, *([48] * (2 if weak else 0))])
        now = {"a": background["a"] + da.view(1, 1, 6, 8), "b": background["b"] + 0.5 * db.view(1, 2, 6, 8)}
        trail = [now]
        for step in range(3):
            now = turning(now, 10.0)
            if weak:
                part = rest[0 if step < 2 else 1].view(1, 1, 6, 8)
                length = 20.0 if step < 2 else 10.0
                now = {**now, "a": now["a"] + 0.05 * length**0.5 * part * 10.0 / length}
            trail.append(now)
        values = []
        for index, time in enumerate(TIMES):
            key, component = SOURCES[int(points.which[index])]
            first = min(int(time // 10), 2)
            before, after = (bilinear(trail[first + k][key][0, component], points.position[:, index]) for k in (0, 1))
            values.append(torch.lerp(before, after, time / 10 - first))
        return torch.stack(values)

    size = 144 + (96 if weak else 0)
    zero = torch.zeros(size, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(equivalents, zero)
    innovation = points.value - equivalents(zero)
    noise = torch.diag(points.std**2)
    control = matrix.T @ torch.linalg.solve(matrix @ matrix.T + noise, innovation)
    expected = equivalents(control)
    torch.testing.assert_close(found["background"], equivalents(zero), rtol=0, atol=1e-12)
    torch.testing.assert_close(found["analysis"], expected, rtol=0, atol=1e-6)
    increment = control[:48].view(1, 1, 6, 8)
    torch.testing.assert_close(fields["a"][:, 0], background["a"] + increment, rtol=0, atol=1e-6)


def test_images_and_points_together_are_the_best_linear_estimate() -> None:
    """Two tables, two sources of images with holes, one of them between the steps: against the dense solution."""
    seconds, background = [0.0, 10.0, 20.0, 30.0], state()
    one, other = table(TIMES), table([4.0, 26.0, 11.0], seed=3, rule="nearest")
    frames = Frames("a", random((1, 4, 6, 8), 8), seconds, torch.tensor(0.4, dtype=torch.float64))
    between = Frames("a", random((1, 2, 6, 8), 9), (7.0, 24.0), 0.2 + random((1, 2, 6, 8), 10).square())
    frames.values[0, 2, 1:3] = between.values[0, 0, :, 4] = torch.nan
    experiment = Experiment(
        dynamics=turning,
        background_error={"a": Diagonal(1.0), "b": Diagonal(0.5)},
        minimizer=LBFGS(max_evaluations=400, gtol=1e-10, ftol=1e-15),
    )
    sources = [frames, one, between, other]
    outcome = experiment.analyse(sources, background, seconds, GRID, save=("innovation", "residual"))

    def equivalents(control: Tensor) -> list[Tensor]:
        da, db = control.split([48, 96])
        now = {"a": background["a"] + da.view(1, 1, 6, 8), "b": background["b"] + 0.5 * db.view(1, 2, 6, 8)}
        trail = [now]
        for _ in range(3):
            trail.append(turning(trail[-1], 10.0))

        def at(time: float, key: str) -> Tensor:
            first = min(int(time // 10), 2)
            return torch.lerp(trail[first][key], trail[first + 1][key], time / 10 - first)

        def points(part: PointTable, times: list[float]) -> Tensor:
            rounded = times if part.comparison.time_interpolation == "linear" else [round(time, -1) for time in times]
            named = [SOURCES[int(index)] for index in part.which]
            fields = [at(time, key)[0, component] for time, (key, component) in zip(rounded, named, strict=True)]
            return torch.stack([bilinear(field, part.position[:, i]) for i, field in enumerate(fields)])

        images = [torch.cat([at(time, "a") for time in part.seconds], 1)[0] for part in (frames, between)]
        return [images[0], points(one, TIMES), images[1], points(other, [4.0, 26.0, 11.0])]

    values = [frames.values[0], one.value, between.values[0], other.value]
    spread = [torch.full_like(values[0], 0.4), one.std, between.std[0], other.std]
    seen = torch.cat([part.isfinite().flatten() for part in values])

    def flat(parts: list[Tensor]) -> Tensor:
        return torch.cat([part.flatten() for part in parts])[seen]

    zero = torch.zeros(144, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(lambda control: flat(equivalents(control)), zero)
    innovation = flat(values) - flat(equivalents(zero))
    control = matrix.T @ torch.linalg.solve(matrix @ matrix.T + torch.diag(flat(spread) ** 2), innovation)
    expected = equivalents(control)
    close = {"rtol": 0, "atol": 1e-6}
    increment = control[:48].view(1, 1, 6, 8)
    torch.testing.assert_close(outcome.fields["a_increment"], increment, **close)
    for found, part in zip(outcome.points, (expected[1], expected[3]), strict=True):
        torch.testing.assert_close(found["analysis"], part, **close)
    for found, part, shown in zip(outcome.departures["residual"], (frames, between), expected[::2], strict=True):
        torch.testing.assert_close(found[0], part.values[0] - shown, equal_nan=True, **close)
    assert int(outcome.numbers["number_of_observations"]) == int(seen.sum())
    alone = experiment.analyse([frames], background, seconds, GRID)
    assert not torch.allclose(alone.fields["a_increment"], increment, **close)


def test_points_after_the_last_frame_make_the_window_longer() -> None:
    experiment = Experiment(turning, {"a": Diagonal(1.0)}, step=10.0)
    whole, short = (
        experiment.analyse([table(TIMES)], state(), times, GRID) for times in ([0, 10, 20, 30], [0, 10, 20])
    )
    assert short.fields["a"].shape[1] == 3
    assert torch.equal(whole.fields["a"][:, :3], short.fields["a"])
    assert torch.equal(whole.points[0]["analysis"], short.points[0]["analysis"])


def test_a_window_too_large_for_memory_is_recomputed() -> None:
    experiment = Experiment(turning, {"a": Diagonal(1.0)}, step=1.0)
    assert not experiment.problem([table(TIMES)], state(), [0.0, 30.0], GRID).checkpoint
    large = {"a": torch.zeros(1, 1, 600, 600), "b": torch.zeros(1, 2, 600, 600)}
    assert experiment.problem([table(TIMES)], large, [0.0, 30.0], Grid((600, 600), (1e3, 1e3))).checkpoint


def test_the_step_before_is_kept_only_for_interpolation_in_time() -> None:
    experiment = Experiment(turning, {"a": Diagonal(1.0)}, step=10.0)
    for times, kept in ((TIMES, True), ([0.0, 10.0, 30.0], False)):
        problem = experiment.problem([table(times)], state(), [0.0, 30.0], GRID)
        assert isinstance(problem.dynamics, Remember) == kept


def test_points_have_one_window() -> None:
    experiment = Experiment(turning, {"a": Diagonal(1.0)})
    with pytest.raises(InputError) as caught:
        experiment.analyse([table(TIMES)], state(2), [0.0, 30.0], GRID)
    assert codes(caught.value) == ["points-of-several-windows"]
