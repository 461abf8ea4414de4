from __future__ import annotations

import math
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
from tests.core.numerics import adjoint_error, order, random, smooth, taylor_orders
from xvar.core.cost import Cost
from xvar.core.covariance import Diagonal, Tikhonov
from xvar.core.dynamics import State, start, trajectory
from xvar.core.grid import Grid, block_mean
from xvar.core.interpolate import identity, sample
from xvar.core.observation import Observation
from xvar.core.parcels import FollowParcels, ImageAtParcels, Parcels
from xvar.core.problem import Problem

GRID = Grid((16, 20), (900.0, 1300.0))
STEPS = (300.0, 200.0, 400.0)


def model(grid: Grid = GRID, dtype: torch.dtype = torch.float64, **settings: Any) -> FollowParcels:
    return Parcels(**settings).bind(grid, dtype=dtype, device=torch.device("cpu"))


def uniform(windows: int = 1) -> Tensor:
    """0.4 and -0.6 of a cell in 300 s."""
    rates = torch.tensor([0.4 * 1300 / 300, -0.6 * 900 / 300], dtype=torch.float64)
    return rates.view(1, 2, 1, 1).expand(windows, 2, *GRID.shape).clone()


class TestStep(StepConformance):
    @pytest.fixture(params=[0, 1, 3])
    def case(self, request: pytest.FixtureRequest) -> StepCase:
        def state(windows: int, dtype: torch.dtype) -> State:
            return {
                "velocity": 2.0 * smooth((windows, 2, *GRID.shape), 1, dtype),
                "tracer": smooth((windows, 1, *GRID.shape), 2, dtype),
                "growth": smooth((windows, 1, *GRID.shape), 3, dtype) / 300,
            }

        return StepCase(
            model=lambda dtype: model(dtype=dtype, lifetimes={"growth": 500.0}, iterations=request.param),
            state=state,
            steps=STEPS,
        )


class TestUniformStep(SmoothStepConformance):
    @pytest.fixture
    def case(self) -> StepCase:
        def state(windows: int, dtype: torch.dtype) -> State:
            return {"velocity": uniform(windows).to(dtype), "tracer": smooth((windows, 1, *GRID.shape), 2, dtype)}

        return StepCase(model=lambda dtype: model(dtype=dtype), state=state, steps=STEPS, largest=0.01)


class TestWindow(SmoothWindowConformance):
    """Backward from the last frame to those before it, one of them with holes."""

    goal = 0.7  # what comes in over the edges is not seen
    largest = 0.01
    steps = (-300.0, -250.0, -350.0)

    def truth(self, dtype: torch.dtype, windows: int = 3) -> State:
        return {"velocity": (uniform() + 0.7 * smooth((3, 2, *GRID.shape), 3, waves=1))[:windows].to(dtype)}

    def taylor_point(self, cost: Cost) -> Tensor:
        return cost.zero()

    def problem(self, dtype: torch.dtype, windows: int = 3) -> Problem:
        velocity = self.truth(torch.float64, windows)["velocity"]
        phase = 10 * smooth((3, 1, *GRID.shape), 4, waves=1)[:windows]
        forward = tuple(-step for step in self.steps)
        images = []
        for index in range(3):
            # What is at a grid point at an earlier time is now where the motion took it.
            state = {"velocity": velocity, "tracer": phase}
            now = trajectory(model(), state, forward[: index + 1])[-1]["position"]
            image = sample(phase, now, "cubic")
            if index == 1:
                image[..., 3:5, 4:6] = torch.nan
            images.append(image.to(dtype))
        zero = torch.zeros(windows, 1, *GRID.shape, dtype=dtype)
        std = torch.full((1, 1, *GRID.shape), 1e3, dtype=dtype)  # near the edges parcels come from outside
        std[..., 3:-3, 3:-3] = 0.3
        times = (-300.0, -550.0, -900.0)
        return Problem(
            grid=GRID,
            dynamics=Parcels(),
            steps=self.steps,
            background={"velocity": uniform(windows).to(dtype), "tracer": phase.to(dtype)},
            background_error={"velocity": Tikhonov(gradient=3e5, curvature=3e11, mean_std=1.0)},
            observations=tuple(
                Observation(time, ImageAtParcels(image), zero, std) for time, image in zip(times, images, strict=True)
            ),
        )


def test_order_along_a_steady_motion() -> None:
    """Against exact characteristics of a motion that is linear in space, which bilinear sampling gives exactly."""
    grid = Grid((31, 45), (0.15, 0.1))
    rates = torch.tensor([[0.3, -0.8], [0.5, -0.2]], dtype=torch.float64)
    middle, spacing = torch.tensor([22.0, 15.0]).view(1, 2, 1, 1), torch.tensor([0.1, 0.15]).double().view(1, 2, 1, 1)
    here = identity(grid.shape, torch.zeros(1, dtype=torch.float64))
    velocity = torch.einsum("ij,wjyx->wiyx", rates, (here - middle) * spacing)
    state = {"velocity": velocity, "tracer": torch.zeros_like(velocity[:, :1])}
    for direction in (1, -1):
        exact = torch.einsum(
            "ij,wjyx->wiyx", torch.linalg.matrix_exp(0.5 * direction * rates), (here - middle) * spacing
        )
        for iterations, expected in ((0, 1), (1, 2), (3, 2)):
            errors = []
            for count in (4, 8, 16, 32):
                steps = [direction * 0.5 / count * share for share in (0.5, 1.5)] * (count // 2)
                end = trajectory(model(grid, iterations=iterations), state, steps)[-1]["position"]
                errors.append(float(((end - middle) * spacing - exact)[..., 12:19, 16:29].abs().max()))
            assert order([1 / 4, 1 / 8, 1 / 16, 1 / 32], errors) == pytest.approx(expected, abs=0.1)


def test_the_first_step_from_the_grid_points_is_as_from_anywhere() -> None:
    follow = model()
    velocity = 2 * smooth((2, 2, *GRID.shape), 5)
    here = identity(GRID.shape, velocity).expand(2, -1, -1, -1)
    assert start(follow, {"velocity": velocity})["position"].data_ptr() == follow.grid_points.data_ptr()
    shortcut = follow.follow(velocity, start(follow, {"velocity": velocity})["position"], 300.0)
    assert (follow.follow(velocity, here.clone(), 300.0) - shortcut).abs().max() < 1e-13


def test_sources_add_up_along_the_parcels() -> None:
    state = {
        "velocity": 2 * smooth((2, 2, *GRID.shape), 6),
        "tracer": smooth((2, 1, *GRID.shape), 7),
        "growth": smooth((2, 1, *GRID.shape), 8),
        "decay": smooth((2, 1, *GRID.shape), 9),
    }
    lifetimes = {"growth": 20.0, "decay": 1e9}
    for direction in (1, -1):
        steps = tuple(direction * step for step in (10.0, 4.0, 5.0))
        states = trajectory(model(lifetimes=lifetimes), state, steps)
        fading = 20 * (1 - math.exp(-19 / 20))
        expected = state["tracer"] + direction * (fading * state["growth"] + 19 * state["decay"])
        assert (states[-1]["tracer"] - expected).abs().max() < 1e-6
        assert (states[-1]["growth"] - math.exp(-19 / 20) * state["growth"]).abs().max() < 1e-13
    steady = trajectory(model(lifetimes={"growth": 1e12}), state, (10.0, 4.0, 5.0))[-1]
    assert (steady["tracer"] - state["tracer"] - 19 * state["growth"]).abs().max() < 1e-8
    assert torch.equal(trajectory(model(), state, (10.0,))[-1]["tracer"], state["tracer"])


def test_the_operator_is_the_difference_between_the_image_and_what_parcels_carry() -> None:
    image = smooth((2, 1, *GRID.shape), 10)
    position = identity(GRID.shape, image) + random((2, 2, *GRID.shape), 11)
    tracer = smooth((2, 1, *GRID.shape), 12)
    seen = ImageAtParcels(image)({"position": position, "tracer": tracer})
    assert (seen - (sample(image, position) - tracer)).abs().max() < 1e-14
    # parcels whose values are the image's are seen without a difference, whatever the holes
    holes = image.clone()
    holes[0, 0, 2:5, 3:6] = torch.nan
    holes[1, 0, 4, 4] = torch.inf
    constant = torch.where(holes.isfinite(), 3.0, holes)
    seen = ImageAtParcels(constant)({"position": position, "tracer": torch.full_like(tracer, 3.0)})
    assert seen.abs().max() < 1e-13
    # and within a hole nothing is seen at all
    inside = torch.full_like(position, 4.0)
    inside[:, 1] = 3.3
    seen = ImageAtParcels(holes[:1])({"position": inside[:1], "tracer": tracer[:1]})
    assert torch.equal(seen, torch.zeros_like(seen))


def test_holes_leave_the_gradient_finite_and_the_adjoint_exact() -> None:
    image = smooth((1, 1, *GRID.shape), 13)
    image[..., 2:5, 3:6] = torch.nan
    operator = ImageAtParcels(image)
    base = identity(GRID.shape, image) + torch.tensor([0.3, -0.4], dtype=torch.float64).view(1, 2, 1, 1)
    tracer = smooth((1, 1, *GRID.shape), 14)

    def of_all(flat: Tensor) -> Tensor:
        position, carried = flat.split([base.numel(), tracer.numel()])
        return operator({"position": position.view_as(base), "tracer": carried.view_as(tracer)}).flatten()

    point = torch.cat((base.flatten(), tracer.flatten()))
    direction, dual = random(point.shape, 15).clamp(-2, 2), random((tracer.numel(),), 16)
    assert adjoint_error(of_all, point, direction, dual) < 1e-13
    misfit = lambda flat: 0.5 * of_all(flat).square().sum()  # noqa: E731
    assert all(1.9 < found < 2.1 for found in taylor_orders(misfit, point, direction, largest=0.01))
    point.requires_grad_()
    assert torch.autograd.grad(misfit(point), point)[0].isfinite().all()


def test_images_are_selected_with_their_windows_and_averaged_with_their_holes() -> None:
    image = smooth((3, 1, 8, 12), 17)
    image[1, 0, 2:4, 4] = torch.nan
    operator = ImageAtParcels(image)
    position = identity((8, 12), image) + 0.3
    tracer = smooth((3, 1, 8, 12), 18)
    all_of_it = operator({"position": position.expand(3, -1, -1, -1), "tracer": tracer})
    windows = torch.tensor([2, 1])
    some = operator.select(windows)({"position": position.expand(2, -1, -1, -1), "tracer": tracer[windows]})
    assert torch.equal(some, all_of_it[windows])
    coarse = operator.coarsen(2)
    assert coarse.mask is not None
    assert torch.equal(coarse.mask, block_mean(image.isfinite().double(), 2))
    at_blocks = coarse(
        {"position": identity((4, 6), image).expand(3, -1, -1, -1), "tracer": torch.zeros(3, 1, 4, 6).double()}
    )
    assert (at_blocks[0] - block_mean(image[:1], 2)[0]).abs().max() < 1e-13
    # half of a block is a hole: its misfit to what a parcel carries has half the weight, not another value
    constant = torch.where(image.isfinite(), 3.0, image)
    seen = ImageAtParcels(constant).coarsen(2)(
        {"position": identity((4, 6), image).expand(3, -1, -1, -1), "tracer": torch.full((3, 1, 4, 6), 1.0).double()}
    )
    assert seen[1, 0, 1, 2] == pytest.approx(0.5 * 2)
    assert seen[1, 0, 0, 0] == pytest.approx(2)
    assert math.isclose(float(seen[0].min()), 2, rel_tol=1e-12)


class TestGrowingWindow(WindowConformance):
    """The growth of the parcels is unknown too."""

    goal = 0.6
    steps = (300.0, 300.0)

    def truth(self, dtype: torch.dtype, windows: int = 3) -> State:
        return {"growth": smooth((3, 1, *GRID.shape), 19, waves=1)[:windows].to(dtype) / 300}

    def problem(self, dtype: torch.dtype, windows: int = 3) -> Problem:
        shape = (windows, 1, *GRID.shape)
        growth = self.truth(torch.float64, windows)["growth"]
        first = 3 * smooth((3, 1, *GRID.shape), 20)[:windows]
        observations = []
        for index in (1, 2):
            image = first + 300 * index * growth  # without any motion
            observations.append(
                Observation(
                    300.0 * index,
                    ImageAtParcels(image.to(dtype)),
                    torch.zeros(shape, dtype=dtype),
                    torch.tensor(0.1, dtype=dtype),
                )
            )
        return Problem(
            grid=GRID,
            dynamics=Parcels(lifetimes={"growth": 1e6}),
            steps=self.steps,
            background={
                "velocity": torch.full((windows, 2, *GRID.shape), 0.01, dtype=dtype),
                "tracer": first.to(dtype),
                "growth": torch.zeros(shape, dtype=dtype),
            },
            background_error={
                "velocity": Tikhonov(gradient=3e7, curvature=3e13, mean_std=0.1),
                "growth": Diagonal(1 / 300),
            },
            observations=tuple(observations),
        )
