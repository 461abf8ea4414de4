from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.numerics import adjoint_error, difference_error, random, smooth
from xvar.core.covariance import Diagonal
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import Grid
from xvar.core.methods.points import PointExperiment, PointTable, PointValues, Remember, place
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


def table(times: list[float], seed: int = 0, source: list[int] | None = None) -> PointTable:
    generator = torch.Generator().manual_seed(seed)
    count = len(times)
    position = torch.rand(2, count, generator=generator, dtype=torch.float64) * torch.tensor([[7.0], [5.0]])
    return PointTable(
        time=torch.tensor(times, dtype=torch.float64),
        position=position,
        source=torch.tensor([index % 3 for index in range(count)] if source is None else source),
        value=random((count,), 5),
        std=0.1 + torch.rand(count, generator=generator, dtype=torch.float64),
        sources=SOURCES,
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
    steps, points = (10.0, 10.0, 10.0), table(TIMES)
    states = trajectory(Remember(turning).bind(GRID, dtype=torch.float64, device=torch.device("cpu")), state(), steps)
    placed = place(points, steps, time_interpolation=rule)
    found = torch.full((len(TIMES),), torch.nan, dtype=torch.float64)
    for observation, step, rows in zip(placed.observations, placed.steps, placed.points, strict=True):
        assert observation.time == 10.0 * step
        assert torch.equal(observation.values[0, 0], points.value[rows])
        assert torch.equal(observation.std[0, 0], points.std[rows])
        found[rows] = observation.operator(states[step])[0, 0]
    for index, time in enumerate(TIMES):
        key, component = SOURCES[int(points.source[index])]
        first = min(int(time // 10), 2)
        share = time / 10 - first
        if rule == "nearest":
            share = float(share >= 0.5)
        before, after = (bilinear(states[first + k][key][0, component], points.position[:, index]) for k in (0, 1))
        assert float(found[index]) == pytest.approx(float((1 - share) * before + share * after), abs=1e-12)
    assert not found.isnan().any()


def operators() -> tuple[PointValues, State]:
    placed = place(table(TIMES), (30.0,))
    return placed.observations[-1].operator, {**state(2), **{f"{key} before": 0.5 * v for key, v in state(2).items()}}


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
    experiment = PointExperiment(
        dynamics=turning,
        background_error={"a": Diagonal(1.0), "b": Diagonal(0.5)},
        model_error={"a": Diagonal(0.05)} if weak else {},
        step=10.0,
        minimizer=LBFGS(max_evaluations=200, gtol=1e-9, ftol=1e-14),
    )
    states, forcing, found, numbers = experiment.analyse(background, points, seconds, GRID)
    assert [len(states), len(forcing)] == [3, 2 if weak else 0]
    assert all(set(one) == {"a", "b"} for one in states)
    assert int(numbers["number_of_observations"]) == 9

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
            key, component = SOURCES[int(points.source[index])]
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
    torch.testing.assert_close(states[0]["a"], background["a"] + increment, rtol=0, atol=1e-6)


def test_a_window_too_large_for_memory_is_recomputed() -> None:
    experiment = PointExperiment(dynamics=turning, background_error={"a": Diagonal(1.0)}, step=1.0)
    small, _ = experiment.problem(state(), table(TIMES), [0.0, 30.0], GRID)
    assert not small.checkpoint
    large = {"a": torch.zeros(1, 1, 600, 600), "b": torch.zeros(1, 2, 600, 600)}
    problem, _ = experiment.problem(large, table(TIMES), [0.0, 30.0], Grid((600, 600), (1e3, 1e3)))
    assert problem.checkpoint


def test_points_have_one_window() -> None:
    experiment = PointExperiment(dynamics=turning, background_error={"a": Diagonal(1.0)})
    with pytest.raises(InputError, match="one window"):
        experiment.analyse(state(2), table(TIMES), [0.0, 30.0], GRID)
