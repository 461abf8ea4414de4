from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.numerics import random
from tests.faults.codes import codes
from xvar.core.cost import Cost
from xvar.core.covariance import Diagonal, Matern
from xvar.core.digital_filter import DigitalFilter
from xvar.core.dynamics import trajectory
from xvar.core.grid import Grid
from xvar.core.minimize import LBFGS, GaussNewton
from xvar.core.models.shallow_water import ShallowWater
from xvar.core.observation import Component, Observation
from xvar.core.problem import Problem
from xvar.core.solve import solve
from xvar.errors import InputError

GRID = Grid((3, 4), (1e3, 1e3))
STEPS = (100.0,) * 40


def departure(penalty: DigitalFilter, times: list[float], period: float, phase: float = 0.0) -> float:
    """What the filter leaves of a wave of unit amplitude, in the middle of its span."""
    return sum(
        weight * math.cos(2 * math.pi * times[i] / period + phase) for i, weight in penalty.weights(times).items()
    )


@pytest.mark.parametrize("steps", [[10.0] * 80, [7.0, 13.0] * 40, [-10.0] * 80])
def test_the_slow_passes_and_the_fast_stays(steps: list[float]) -> None:
    times = [0.0, *torch.tensor(steps, dtype=torch.float64).cumsum(0).tolist()]
    penalty = DigitalFilter(cutoff=300.0, std={"a": 1.0}, start=100.0)
    weights = penalty.weights(times)
    assert {abs(times[i]) for i in (min(weights), max(weights))} == {100.0, 700.0}
    assert sum(weights.values()) == pytest.approx(0, abs=1e-12)
    middle = math.copysign(2 * math.pi * 400.0, times[-1])
    for period in (1.7 * 300, 1000.0, 3000.0):
        assert abs(departure(penalty, times, period, -middle / period)) < 0.12
        # A wave that vanishes in the middle is the same as its filtered state there.
        assert abs(departure(penalty, times, period, -middle / period + math.pi / 2)) < 0.03
    for period in (60.0, 100.0, 0.7 * 300):
        assert departure(penalty, times, period, -middle / period) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"cutoff": 3000.0}, "digital-filter-outside-window"),
        ({"cutoff": 900.0, "start": 3000.0}, "digital-filter-outside-window"),
        ({"cutoff": 900.0, "span": 800.0}, "digital-filter-outside-window"),
        ({"cutoff": 250.0}, "digital-filter-steps-too-long"),
    ],
)
def test_a_filter_that_does_not_fit_the_window_is_refused(options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        DigitalFilter(**options, std={"a": 1.0}).weights([100.0 * index for index in range(41)])
    assert codes(caught.value) == [code]


@pytest.mark.parametrize(
    ("std", "code"),
    [
        ({}, "digital-filter-without-variable"),
        ({"a": 0.0}, "digital-filter-std-not-positive"),
        ({"a": math.nan}, "digital-filter-std-not-positive"),
    ],
)
def test_a_filter_without_deviations_is_refused(std: dict[str, float], code: str) -> None:
    with pytest.raises(InputError) as caught:
        DigitalFilter(900.0, std)
    assert codes(caught.value) == [code]


def oscillator(state: dict[str, Tensor], seconds: float) -> dict[str, Tensor]:
    """Turns a and b into one another, in 400 s; c only grows."""
    angle = torch.tensor(2 * math.pi * seconds / 400.0, dtype=torch.float64)
    a, b = state["a"], state["b"]
    return {"a": a * angle.cos() - b * angle.sin(), "b": a * angle.sin() + b * angle.cos(), "c": state["c"] * 1.001}


def problem(penalties: Any, *, checkpoint: bool = False, seen: float = 0.0) -> Problem:
    state = {key: random((2, 1, 3, 4), seed) for seed, key in enumerate("abc")}
    return Problem(
        grid=GRID,
        dynamics=oscillator,
        steps=STEPS,
        background=state,
        background_error={key: Diagonal(1.0) for key in "abc"},
        observations=tuple(
            Observation(seen, Component(key), random((2, 1, 3, 4), 7), torch.tensor(0.5, dtype=torch.float64))
            for key in "ac"
        ),
        penalties=penalties,
        checkpoint=checkpoint,
    )


TWO = (DigitalFilter(1000.0, {"a": 0.3, "c": 0.2}), DigitalFilter(800.0, {"b": 0.1}, start=1000.0))


@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_term_by_hand(checkpoint: bool) -> None:
    made = problem(TWO, checkpoint=checkpoint)
    cost = Cost(made)
    control = 0.1 * random((2, cost.space.size), 3)
    states = trajectory(oscillator, cost.space.initial_state(cost.space.fields(control)), STEPS)
    expected = torch.zeros(2, dtype=torch.float64)
    for penalty in TWO:
        weights = penalty.weights(made.times())
        for key, std in penalty.std.items():
            total = sum(weight * states[index][key] for index, weight in weights.items())
            expected = expected + 0.5 * (total / std).square().flatten(1).sum(1)
    torch.testing.assert_close(cost.terms(control)["digital_filter"], expected, rtol=1e-12, atol=0)
    _, gradient = cost.gradient(control)
    direction = random(control.shape, 4)
    slope = (cost.value(control + 1e-4 * direction) - cost.value(control - 1e-4 * direction)) / 2e-4
    torch.testing.assert_close((gradient * direction).sum(1), slope, rtol=1e-9, atol=0)


def test_both_minimisers_find_the_same_and_the_waves_are_gone() -> None:
    tight = LBFGS(max_evaluations=300, gtol=1e-12, ftol=0.0)
    newton = GaussNewton(outer=3, inner=100, residual=1e-12, ftol=0.0)
    strict = (DigitalFilter(1000.0, {"a": 1e-3, "b": 1e-3}),)
    found = [solve(problem(strict), minimizer) for minimizer in (tight, newton)]
    for key in "abc":
        torch.testing.assert_close(found[0].trajectory[0][key], found[1].trajectory[0][key], rtol=0, atol=1e-6)
    free = solve(problem(()), tight).trajectory[0]
    assert float(found[0].trajectory[0]["a"].abs().max()) < 1e-3  # a and b do nothing but oscillate
    torch.testing.assert_close(found[0].trajectory[0]["c"], free["c"], rtol=0, atol=1e-8)  # c is slow, and free


def test_gravity_waves_are_kept_out_of_an_analysis() -> None:
    """Heights alone, B without balance: the fast part of the currents is a fraction of that without the penalty."""
    size = 12
    grid = Grid((size, size), (25e3, 25e3), edges="periodic")
    model = ShallowWater(depth=1.0, coriolis=9e-5, edges="periodic")
    error = Matern(0.1, 75e3, 3)
    truth = torch.cat([error.bind(grid).sample((1, 1, size, size), torch.Generator().manual_seed(0))] * 3, 1)
    truth[:, 1:] = 0
    step = model.longest_step(grid.spacing)
    steps = (step,) * 34  # two days and more
    penalty = DigitalFilter(86400.0, {"flow": torch.tensor([1e-3, 3e-3, 3e-3]).reshape(3, 1, 1)})
    made = {
        name: Problem(
            grid=grid,
            dynamics=model,
            steps=steps,
            background={"flow": torch.zeros(1, 3, size, size)},
            background_error={"flow": error},
            observations=(Observation(0.0, Component("flow", (0,)), truth[:, :1], torch.tensor(0.01)),),
            penalties=chosen,
        )
        for name, chosen in (("free", ()), ("filtered", (penalty,)))
    }
    fast = {}
    for name, part in made.items():
        states = solve(part, LBFGS(max_evaluations=15)).trajectory
        weights = penalty.weights(part.times())
        fast[name] = sum(weight * states[index]["flow"] for index, weight in weights.items())[:, 1:]  # type: ignore[index]
    assert float(fast["filtered"].square().mean()) < 0.02 * float(fast["free"].square().mean())
