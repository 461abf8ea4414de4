from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.numerics import DTYPES, order, random, smooth
from xvar.core.dynamics import State, start, trajectory
from xvar.core.grid import EDGES, Grid
from xvar.core.interpolate import SAMPLERS, identity, sample
from xvar.core.models.advection import DEPARTURES, Advection

SPACING = (0.15, 0.1)  # dy, dx
GRID = Grid((31, 45), SPACING)
RATES = torch.tensor([[0.3, -0.8], [0.5, -0.2]], dtype=torch.float64)  # ∇w in s-1, rows: u, v; columns: x, y
LONG = 0.5  # seconds


def model(grid: Grid = GRID, dtype: torch.dtype = torch.float64, **settings: Any) -> Advection:
    return Advection(**settings).bind(grid, dtype=dtype, device=torch.device("cpu"))


def metres(position: Tensor) -> Tensor:
    """Places (window, 2, y, x) in metres from the middle of the grid."""
    middle = torch.tensor([22.0, 15.0]).view(1, 2, 1, 1)
    return (position - middle) * torch.tensor(SPACING[::-1], dtype=position.dtype).view(1, 2, 1, 1)


def times_matrix(matrix: Tensor, vectors: Tensor) -> Tensor:
    return torch.einsum("ij,wjyx->wiyx", matrix, vectors)


def error_of_departures(steps: list[float], velocity_matrix: Any, arrival_to_origin: Tensor, **settings: Any) -> float:
    """Largest distance, in metres, from the exact origin of the parcels that cross all the steps.

    The motion is linear in space, so that no sampling has an error; each step is given the exact motion at its begin.
    """
    advection = model(**settings)
    here = identity(GRID.shape, torch.zeros(1, dtype=torch.float64))
    times = [0.0]
    for step in steps:
        times.append(times[-1] + step)
    found = here
    for index in reversed(range(len(steps))):
        state = {"velocity": times_matrix(velocity_matrix(times[index]), metres(here))}
        if settings["departure"] == "two_level":
            state = start(advection, state)
            if index > 0:
                before = times_matrix(velocity_matrix(times[index - 1]), metres(here))
                state["acceleration"] = (state["velocity"] - before) / steps[index - 1]
        found = sample(advection.departure_point(state, steps[index]), found, "bilinear", "free")
    exact = times_matrix(arrival_to_origin, metres(here))
    return float((metres(found) - exact)[..., 11:20, 15:30].abs().max())


def equal_steps(count: int) -> list[float]:
    return [LONG / count] * count


def unequal_steps(count: int) -> list[float]:
    return [LONG / count * share for share in (0.5, 1.5)] * (count // 2)


COUNTS = (4, 8, 16, 32)


@pytest.mark.parametrize("steps", [equal_steps, unequal_steps])
@pytest.mark.parametrize(("departure", "expected"), [("arrival", 1), ("end_point", 1), ("midpoint", 2)])
def test_order_of_departure_points_of_a_steady_motion(departure: str, expected: int, steps: Any) -> None:
    exact = torch.linalg.matrix_exp(-LONG * RATES)
    errors = [error_of_departures(steps(n), lambda time: RATES, exact, departure=departure) for n in COUNTS]
    assert order([1 / n for n in COUNTS], errors) == pytest.approx(expected, abs=0.1)


def self_carried(time: float) -> Tensor:
    """Parcels keep their velocity, so X = (1 + A t) a and w = A (1 + A t)^-1 x."""
    return RATES @ torch.linalg.inv(torch.eye(2, dtype=torch.float64) + time * RATES)


@pytest.mark.parametrize("steps", [equal_steps, unequal_steps])
@pytest.mark.parametrize(("departure", "expected"), [("arrival", 1), ("midpoint", 1), ("two_level", 2)])
def test_order_of_departure_points_of_a_motion_that_carries_itself(departure: str, expected: int, steps: Any) -> None:
    exact = torch.linalg.inv(torch.eye(2, dtype=torch.float64) + LONG * RATES)
    errors = [error_of_departures(steps(n), self_carried, exact, departure=departure) for n in COUNTS]
    assert order([1 / n for n in COUNTS], errors) == pytest.approx(expected, abs=0.1)


def test_the_end_point_is_exact_for_a_motion_that_carries_itself() -> None:
    exact = torch.linalg.inv(torch.eye(2, dtype=torch.float64) + LONG * RATES)
    for steps in (equal_steps(1), equal_steps(4), unequal_steps(6)):
        assert error_of_departures(steps, self_carried, exact, departure="end_point", iterations=80) < 1e-13


@pytest.mark.parametrize("departure", ["end_point", "midpoint"])
def test_each_iteration_gains_a_factor_of_the_change_of_the_motion_in_a_step(departure: str) -> None:
    seconds, rate = 0.2, 0.5
    matrix = torch.tensor([[rate, 0.0], [0.0, 0.0]], dtype=torch.float64)
    share = 1.0 if departure == "end_point" else 0.5
    origin = (1 - (1 - share) * rate * seconds) / (1 + share * rate * seconds)
    limit = torch.diag(torch.tensor([origin, 1.0], dtype=torch.float64))
    errors = [
        error_of_departures([seconds], lambda time: matrix, limit, departure=departure, iterations=n)
        for n in range(1, 5)
    ]
    for coarse, fine in pairwise(errors):
        assert fine / coarse == pytest.approx(share * rate * seconds, rel=1e-3)


def shifted(field: Tensor, right: int, down: int, edges: str) -> Tensor:
    """The field moved by whole cells along increasing x and y."""
    height, width = field.shape[-2:]
    y, x = torch.arange(height) - down, torch.arange(width) - right
    if edges == "periodic":
        return field[:, :, y % height][..., x % width]
    moved = field[:, :, y.clamp(0, height - 1)][..., x.clamp(0, width - 1)]
    if edges == "zero":
        moved = moved * (((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width)))
    return moved


def uniform(grid: Grid, right: float, down: float, seconds: float, windows: int = 1) -> Tensor:
    """The motion that crosses so many cells in that time."""
    dy, dx = grid.spacing
    rates = torch.tensor([right * dx / seconds, down * dy / seconds], dtype=torch.float64)
    return rates.view(1, 2, 1, 1).expand(windows, 2, *grid.shape).clone()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("departure", DEPARTURES)
def test_whole_cells_are_crossed_exactly(departure: str, sampler: str, edges: str, dtype: torch.dtype) -> None:
    grid = Grid((7, 11), (740.0, 1110.0))
    advection = model(grid, dtype, departure=departure, sampler=sampler, tracer_edges=edges)
    tracer = random((2, 1, 7, 11), 1, dtype)
    velocity = uniform(grid, 2, -1, 300.0, 2).to(dtype)
    state = advection(start(advection, {"velocity": velocity, "tracer": tracer}), 300.0)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    assert (state["tracer"] - shifted(tracer, 2, -1, edges)).abs().max() < tolerance
    assert (state["velocity"] - velocity).abs().max() < tolerance * 10
    back = advection(start(advection, {"velocity": velocity, "tracer": tracer}), -300.0)
    assert (back["tracer"] - shifted(tracer, -2, 1, edges)).abs().max() < tolerance


def test_a_positive_u_moves_an_image_to_larger_x_and_a_positive_v_to_larger_y() -> None:
    grid = Grid((9, 12), (2.0, 3.0))
    tracer = torch.zeros(1, 1, 9, 12, dtype=torch.float64)
    tracer[0, 0, 3, 4] = 1
    for component, (row, column) in enumerate([(3, 6), (5, 4)]):
        velocity = torch.zeros(1, 2, 9, 12, dtype=torch.float64)
        velocity[:, component] = (3.0, 2.0)[component] * 2 / 10.0  # two cells in ten seconds
        after = model(grid)({"velocity": velocity, "tracer": tracer}, 10.0)["tracer"]
        assert after[0, 0, row, column] == pytest.approx(1, abs=1e-12)
        assert after.abs().sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("sampler", ["bilinear", "cubic"])
def test_a_uniform_motion_keeps_the_mass_of_a_periodic_image(sampler: str) -> None:
    grid = Grid((12, 15), (1.0, 1.5), edges="periodic")
    advection = model(grid, sampler=sampler, tracer_edges="periodic", velocity_edges="periodic")
    tracer = random((1, 1, 12, 15), 2)
    velocity = uniform(grid, 0.37, -1.61, 10.0)
    states = trajectory(advection, {"velocity": velocity, "tracer": tracer}, [10.0] * 20)
    assert states[-1]["tracer"].sum() == pytest.approx(float(tracer.sum()), abs=1e-11)
    assert (states[-1]["tracer"] - tracer).abs().max() > 0.1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_image_that_leaves_is_gone_with_zeros_beyond_and_stays_smeared_with_free_edges(sampler: str) -> None:
    grid = Grid((8, 10), (1.0, 1.0))
    state = {"velocity": uniform(grid, 3.5, 0, 1.0), "tracer": 1 + random((1, 1, 8, 10), 3).abs()}
    zero = trajectory(model(grid, tracer_edges="zero", sampler=sampler), state, [1.0] * 5)[-1]["tracer"]
    assert torch.equal(zero, torch.zeros_like(zero))
    free = trajectory(model(grid, tracer_edges="free", sampler=sampler), state, [1.0] * 5)[-1]["tracer"]
    assert (free - state["tracer"][..., :1]).abs().max() < 1e-12


@pytest.mark.parametrize("departure", DEPARTURES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_metric_of_equal_spacings_gives_the_same_bits_as_the_spacing(sampler: str, departure: str) -> None:
    spacing = (741.3, 1112.7)
    grid = Grid((7, 9), spacing)
    metric = Grid((7, 9), spacing, metric=torch.tensor(spacing, dtype=torch.float64).view(2, 1, 1).expand(2, 7, 9))
    state = {"velocity": smooth((2, 2, 7, 9), 4), "tracer": smooth((2, 1, 7, 9), 5)}
    plain, local = (
        trajectory(model(one, departure=departure, sampler=sampler), state, [300.0, 200.0])[-1]
        for one in (grid, metric)
    )
    assert all(torch.equal(plain[key], local[key]) for key in plain)


def test_the_local_spacing_counts() -> None:
    metric = torch.stack((torch.linspace(1, 2, 7)[:, None].expand(7, 9), torch.linspace(3, 5, 9).expand(7, 9))).double()
    grid = Grid((7, 9), (1.5, 4.0), metric=metric)
    velocity = uniform(Grid((7, 9), (1.0, 1.0)), 0.8, -0.3, 1.0)
    advection = model(grid, departure="arrival")
    moved = identity((7, 9), velocity) - advection.departure_point({"velocity": velocity}, 2.0)
    assert (moved[0, 0] - 1.6 / metric[1]).abs().max() < 1e-14
    assert (moved[0, 1] + 0.6 / metric[0]).abs().max() < 1e-14


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("velocity_edges", EDGES)
@pytest.mark.parametrize("tracer_edges", EDGES)
def test_velocity_and_tracers_have_their_own_edges(tracer_edges: str, velocity_edges: str, sampler: str) -> None:
    """Fields that are sampled together come out as each of them alone."""
    grid = Grid((7, 9), (1.0, 1.3))
    state = {
        "rain": random((2, 1, 7, 9), 6),
        "velocity": 2 * smooth((2, 2, 7, 9), 7),
        "aerosols": random((2, 3, 7, 9), 8),
    }
    advection = model(grid, sampler=sampler, velocity_edges=velocity_edges, tracer_edges=tracer_edges)
    origin = advection.departure_point(state, 0.7)
    after = advection(state, 0.7)
    assert list(after) == list(state)
    for key, values in state.items():
        rule = velocity_edges if key == "velocity" else tracer_edges
        assert (after[key] - sample(values, origin, sampler, rule)).abs().max() < 1e-13


@pytest.mark.parametrize("departure", DEPARTURES)
def test_a_steady_motion_stays_as_it_is_to_the_bit(departure: str) -> None:
    state: State = {"velocity": smooth((1, 2, 31, 45), 8), "tracer": smooth((1, 1, 31, 45), 9)}
    end = trajectory(model(motion="steady", departure=departure), state, [0.05] * 3)[-1]
    assert torch.equal(end["velocity"], state["velocity"])
    assert (end["tracer"] - state["tracer"]).abs().max() > 0.01
