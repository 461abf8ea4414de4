from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.core.models.conformance import SmoothStepConformance, SmoothWindowConformance, StepCase
from tests.core.numerics import order, random
from xvar.core.covariance import Diagonal
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import Grid
from xvar.core.models.lorenz import Lorenz63, Lorenz96
from xvar.core.observation import Component, Compose, Observation
from xvar.core.problem import ForcedSteps, Problem

STEPS = (0.05,) * 8


def on_the_attractor(model: Any, windows: int, variables: int) -> torch.Tensor:
    """States on the attractor, (window, 1, variable) in float64."""
    state = {"x": 8 + random((windows, 1, variables), 1)}
    return trajectory(model, state, [model.step] * int(20 / model.step))[-1]["x"]


class TestLorenz63(SmoothStepConformance):
    @pytest.fixture
    def case(self) -> StepCase:
        return StepCase(
            model=lambda dtype: Lorenz63(),
            state=lambda windows, dtype: {"x": on_the_attractor(Lorenz63(), windows, 3).to(dtype)},
            steps=(0.01, 0.005, 0.02),
        )


class TestLorenz96(SmoothStepConformance):
    @pytest.fixture
    def case(self) -> StepCase:
        return StepCase(
            model=lambda dtype: Lorenz96(),
            state=lambda windows, dtype: {"x": on_the_attractor(Lorenz96(), windows, 40).to(dtype)},
            steps=(0.05, 0.02, 0.04),
        )


def every_second(values: torch.Tensor) -> torch.Tensor:
    return values[..., ::2]


class TestWindow(SmoothWindowConformance):
    """20 of 40 variables are observed, every 0.1 units of time."""

    goal = 0.4

    def truth(self, dtype: torch.dtype, windows: int = 3) -> State:
        return {"x": on_the_attractor(Lorenz96(), 3, 40)[:windows].to(dtype)}

    def problem(self, dtype: torch.dtype, windows: int = 3) -> Problem:
        truth = self.truth(torch.float64, windows)
        states = trajectory(Lorenz96(), truth, STEPS)
        observations = tuple(
            Observation(
                time=index * 0.05,
                operator=Compose(Component("x"), every_second),
                values=(states[index]["x"][..., ::2] + 0.1 * random((windows, 1, 20), index)).to(dtype),
                std=torch.tensor(0.1, dtype=dtype),
            )
            for index in range(0, 9, 2)
        )
        return Problem(
            grid=Grid((40,), (1.0,)),
            dynamics=Lorenz96(),
            steps=STEPS,
            background={"x": (truth["x"] + random((windows, 1, 40), 99)).to(dtype)},
            background_error={"x": Diagonal(1.0)},
            observations=observations,
        )


class TestWeakWindow(TestWindow):
    """The same with a forcing in each step."""

    goal = 0.5

    def problem(self, dtype: torch.dtype, windows: int = 3) -> Problem:
        error = ForcedSteps({"x": Diagonal(0.1)}, tuple((index,) for index in range(len(STEPS))))
        return replace(super().problem(dtype, windows), model_error=error)


@pytest.mark.parametrize(("model", "variables"), [(Lorenz63(), 3), (Lorenz96(), 40)])
def test_the_integration_is_of_fourth_order(model: Any, variables: int) -> None:
    start = {"x": on_the_attractor(model, 1, variables)}
    span = 8 * model.step
    ends = {count: trajectory(model, start, [span / count] * count)[-1]["x"] for count in (8, 16, 32, 512)}
    errors = [float((ends[count] - ends[512]).abs().max()) for count in (8, 16, 32)]
    assert order([1 / 8, 1 / 16, 1 / 32], errors) == pytest.approx(4, abs=0.3)


def growth(model: Any, variables: int, time: float) -> float:
    """Mean rate at which two close states separate: the greatest Lyapunov exponent."""
    x = on_the_attractor(model, 20, variables)
    y, total, span = x + 1e-6 * random(x.shape, 2), 0.0, 10 * model.step
    for count in range(round(time / span)):
        x, y = (trajectory(model, {"x": part}, [model.step] * 10)[-1]["x"] for part in (x, y))
        apart = (y - x).norm(dim=-1, keepdim=True)
        y = x + (y - x) / apart * 1e-6
        if count * span > time / 5:  # by then the difference lies along the direction that grows
            total += float((apart / 1e-6).log().mean())
    return total / (time - time / 5)


def test_the_greatest_exponent_is_that_of_the_literature() -> None:
    assert growth(Lorenz63(), 3, 40.0) == pytest.approx(0.906, rel=0.1)
    assert growth(Lorenz96(), 40, 40.0) == pytest.approx(1.67, rel=0.1)


def test_the_fixed_points() -> None:
    """Steady convection rolls, and a uniform ring of F."""
    rho, beta = 28.0, 8 / 3
    rolls = torch.tensor([(beta * (rho - 1)) ** 0.5, (beta * (rho - 1)) ** 0.5, rho - 1], dtype=torch.float64)
    for sign in ([1, 1, 1], [-1, -1, 1]):
        x = (rolls * torch.tensor(sign, dtype=torch.float64))[None, None]
        assert Lorenz63().tendency(x).abs().max() < 1e-13
    assert torch.equal(Lorenz96().tendency(torch.full((1, 1, 40), 8.0)), torch.zeros(1, 1, 40))


def test_advection_of_the_ring_neither_makes_nor_takes_energy() -> None:
    x = random((3, 1, 40), 3)
    advection = Lorenz96(forcing=0.0).tendency(x) + x
    assert (advection * x).sum(-1).abs().max() < 1e-12
