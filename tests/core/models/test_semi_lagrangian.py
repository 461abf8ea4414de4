from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.models.conformance import (
    SmoothStepConformance,
    SmoothWindowConformance,
    StepCase,
    StepConformance,
    WindowConformance,
)
from tests.core.numerics import random, smooth
from xvar.core.cost import Cost
from xvar.core.covariance import Diagonal, Tikhonov
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import EDGES, Grid
from xvar.core.interpolate import SAMPLERS
from xvar.core.models.advection import DEPARTURES, Advection
from xvar.core.observation import Component, Observation
from xvar.core.problem import Problem

GRID = Grid((10, 13), (900.0, 1300.0))
STEPS = (300.0, 200.0, 400.0)


def case_of(advection: Advection, *, uniform: bool = False) -> StepCase:
    """Steps of a motion of about a cell each; uniform motions stay within the cells under small perturbations."""

    def state(windows: int, dtype: torch.dtype) -> State:
        shape = (windows, 2, *GRID.shape)
        velocity = 2.0 * smooth(shape, 1)
        if uniform:
            velocity = torch.tensor([1.3, -1.9], dtype=torch.float64).view(1, 2, 1, 1).expand(shape).clone()
        return {"velocity": velocity.to(dtype), "tracer": smooth((windows, 1, *GRID.shape), 2, dtype)}

    return StepCase(
        model=lambda dtype: advection.bind(GRID, dtype=dtype, device=torch.device("cpu")),
        state=state,
        steps=STEPS,
        largest=0.01,
    )


def name(values: Any) -> str:
    return "-".join(values)


class TestStep(StepConformance):
    """All departure points, samplers and edges, with velocity and tracer of unlike edges."""

    @pytest.fixture(params=list(product(DEPARTURES, SAMPLERS, EDGES)), ids=name)
    def case(self, request: pytest.FixtureRequest) -> StepCase:
        departure, sampler, edges = request.param
        other = EDGES[(EDGES.index(edges) + 1) % 3]
        motion = "steady" if departure == "midpoint" else "inertial"
        return case_of(
            Advection(motion=motion, departure=departure, sampler=sampler, velocity_edges=edges, tracer_edges=other)
        )


class TestArrivalCubicStep(SmoothStepConformance):
    """Once differentiable anywhere."""

    @pytest.fixture(params=EDGES)
    def case(self, request: pytest.FixtureRequest) -> StepCase:
        return case_of(
            Advection(departure="arrival", sampler="cubic", velocity_edges=request.param, tracer_edges=request.param)
        )


class TestUniformStep(SmoothStepConformance):
    """A uniform fractional shift, around which every sampler is smooth."""

    @pytest.fixture(params=list(product(DEPARTURES, ("bilinear", "cubic"))), ids=name)
    def case(self, request: pytest.FixtureRequest) -> StepCase:
        departure, sampler = request.param
        return case_of(
            Advection(departure=departure, sampler=sampler, velocity_edges="periodic", tracer_edges="periodic"),
            uniform=True,
        )


class Twin(WindowConformance):
    """A motion of about a cell a frame, from four frames; the first is taken as it is."""

    advection = Advection()
    goal = 0.4
    steps = (300.0, 200.0, 400.0)

    def first_guess(self) -> Tensor:
        """A uniform motion that crosses 0.4 and -0.6 of a cell in 300 s."""
        return torch.tensor([0.4 * 1300 / 300, -0.6 * 900 / 300], dtype=torch.float64).view(1, 2, 1, 1)

    def truth(self, dtype: torch.dtype, windows: int = 3) -> State:
        return {"velocity": (self.first_guess() + 0.7 * smooth((3, 2, *GRID.shape), 3, waves=1))[:windows].to(dtype)}

    def problem(self, dtype: torch.dtype, windows: int = 3) -> Problem:
        tracer = 10 * smooth((3, 1, *GRID.shape), 4)[:windows]
        model = self.advection.bind(GRID, dtype=torch.float64, device=torch.device("cpu"))
        states = trajectory(model, {**self.truth(torch.float64, windows), "tracer": tracer}, self.steps)
        times = (300.0, 500.0, 900.0)
        observations = tuple(
            Observation(time, Component("tracer"), state["tracer"].to(dtype), torch.tensor(0.1, dtype=dtype))
            for time, state in zip(times, states[1:], strict=True)
        )
        return Problem(
            grid=GRID,
            dynamics=self.advection,
            steps=self.steps,
            background={
                "velocity": self.first_guess().expand(windows, 2, *GRID.shape).to(dtype),
                "tracer": tracer.to(dtype),
            },
            background_error={"velocity": Tikhonov(gradient=3e5, curvature=3e11, mean_std=1.0)},
            observations=observations,
        )


class Smooth(Twin, SmoothWindowConformance):
    """Around the uniform first guess no point crosses cells."""

    largest = 0.01

    def taylor_point(self, cost: Cost) -> Tensor:
        return cost.zero()


class TestDefault(Smooth):
    pass


class TestPaper(Smooth):
    """The rule of the point that is reached, with velocities that are zero outside, as in the paper."""

    advection = Advection(departure="arrival", velocity_edges="zero")


class TestArrivalCubic(Twin, SmoothWindowConformance):
    """Once differentiable anywhere."""

    advection = Advection(departure="arrival", sampler="cubic", tracer_edges="zero")
    largest = 0.01


class TestTwoLevelMonotone(Twin):
    advection = Advection(departure="two_level", sampler="monotone")


class TestSteadyEndPoint(Twin):
    advection = Advection(motion="steady", departure="end_point", tracer_edges="zero", velocity_edges="free")


class TestTracerInTheControl(Smooth):
    """The first frame has errors too, and is observed."""

    goal = 0.6

    def problem(self, dtype: torch.dtype, windows: int = 3) -> Problem:
        problem = super().problem(dtype, windows)
        tracer = problem.background["tracer"]
        first = Observation(0.0, Component("tracer"), tracer, torch.tensor(0.1, dtype=dtype))
        return replace(
            problem,
            background={**problem.background, "tracer": tracer + 0.1 * random(tracer.shape, 5, dtype)},
            background_error={**problem.background_error, "tracer": Diagonal(0.1)},
            observations=(first, *problem.observations),
        )
