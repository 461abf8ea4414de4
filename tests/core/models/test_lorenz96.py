from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.core.models.conformance import SmoothStepConformance, SmoothWindowConformance, StepCase
from tests.core.models.lorenz96 import Lorenz96, on_the_attractor
from tests.core.numerics import order, random
from xvar.core.covariance import Diagonal
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import Grid
from xvar.core.observation import Component, Compose, Observation
from xvar.core.problem import ForcedSteps, Problem

STEPS = (0.05,) * 8


def every_second(values: torch.Tensor) -> torch.Tensor:
    return values[..., ::2]


class TestStep(SmoothStepConformance):
    @pytest.fixture
    def case(self) -> StepCase:
        return StepCase(
            model=lambda dtype: Lorenz96(),
            state=lambda windows, dtype: {"x": on_the_attractor(windows).to(dtype)},
            steps=(0.05, 0.02, 0.04),
        )


class TestWindow(SmoothWindowConformance):
    """20 of 40 variables are observed, every 0.1 time units."""

    goal = 0.4

    def truth(self, dtype: torch.dtype, windows: int = 3) -> State:
        return {"x": on_the_attractor(3)[:windows].to(dtype)}

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


def test_the_integration_is_of_fourth_order() -> None:
    start = {"x": on_the_attractor(1)}
    ends = {count: trajectory(Lorenz96(), start, [0.4 / count] * count)[-1]["x"] for count in (8, 16, 32, 512)}
    errors = [float((ends[count] - ends[512]).abs().max()) for count in (8, 16, 32)]
    assert order([1 / 8, 1 / 16, 1 / 32], errors) == pytest.approx(4, abs=0.3)
