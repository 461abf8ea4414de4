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
from xvar.core.models.parcels import ImageAtParcels, Parcels, compose_displacements, decay_integral
from xvar.core.observation import Observation
from xvar.core.problem import Problem

GRID = Grid((16, 20), (900.0, 1300.0))
STEPS = (300.0, 200.0, 400.0)


def model(grid: Grid = GRID, dtype: torch.dtype = torch.float64, **settings: Any) -> Parcels:
    return Parcels(**settings).bind(grid, dtype=dtype, device=torch.device("cpu"))


def uniform(windows: int = 1) -> Tensor:
    """0.4 and -0.6 of a cell in 300 s."""
    rates = torch.tensor([0.4 * 1300 / 300, -0.6 * 900 / 300], dtype=torch.float64)
    return rates.view(1, 2, 1, 1).expand(windows, 2, *GRID.shape).clone()


def unsteady(windows: int, dtype: torch.dtype) -> State:
    """All that a state may hold."""
    return {
        "velocity": 2.0 * smooth((windows, 2, *GRID.shape), 1, dtype),
        "transient": 1.5 * smooth((windows, 2, *GRID.shape), 21, dtype),
        "tracer": smooth((windows, 1, *GRID.shape), 2, dtype),
        "source": smooth((windows, 1, *GRID.shape), 3, dtype) / 300,
    }


class TestStep(StepConformance):
    @pytest.fixture(params=[0, 1, 3])
    def case(self, request: pytest.FixtureRequest) -> StepCase:
        return StepCase(
            model=lambda dtype: model(dtype=dtype, transient=400.0, source=500.0, iterations=request.param),
            state=unsteady,
            steps=STEPS,
        )


class TestStepBackInTime(StepConformance):
    """The transient motion alone; this model ignores the source of the state."""

    @pytest.fixture
    def case(self) -> StepCase:
        return StepCase(
            model=lambda dtype: model(dtype=dtype, transient=400.0),
            state=unsteady,
            steps=tuple(-step for step in STEPS),
        )


class TestUniformStep(SmoothStepConformance):
    @pytest.fixture
    def case(self) -> StepCase:
        def state(windows: int, dtype: torch.dtype) -> State:
            return {"velocity": uniform(windows).to(dtype), "tracer": smooth((windows, 1, *GRID.shape), 2, dtype)}

        return StepCase(model=lambda dtype: model(dtype=dtype), state=state, steps=STEPS, largest=0.01)


class TestUniformTransientStep(SmoothStepConformance):
    """A uniform motion that decays, and a source: no parcel crosses a cell, so the step is smooth in all of them."""

    @pytest.fixture
    def case(self) -> StepCase:
        def state(windows: int, dtype: torch.dtype) -> State:
            return {
                **unsteady(windows, dtype),
                "velocity": uniform(windows).to(dtype),
                "transient": uniform(windows).to(dtype) / 4,
            }

        return StepCase(
            model=lambda dtype: model(dtype=dtype, transient=400.0, source=500.0),
            state=state,
            steps=STEPS[:2],
            largest=0.01,
        )


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


def test_the_decay_integral() -> None:
    for lifetime in (0.3, 1.0, 7.0):
        for end in (-5.0, -0.2, 0.4, 3.0):
            share = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
            integral = float((-(share * end).abs() / lifetime).exp().mean()) * end
            assert decay_integral(end, lifetime) == pytest.approx(integral, rel=1e-6)
    assert decay_integral(1e-6, 1e6) == pytest.approx(1e-6, rel=1e-15)  # no digits are lost where hardly anything fades
    assert decay_integral(0.0, 3.0) == 0
    assert decay_integral(1e9, 3.0) == 3


def test_sources_add_up_along_the_parcels_and_fade() -> None:
    state = unsteady(2, torch.float64)
    for direction in (1, -1):
        steps = tuple(direction * step for step in (10.0, 4.0, 5.0))
        states = trajectory(model(source=20.0), state, steps)
        grown = direction * 20 * (1 - math.exp(-19 / 20))
        assert (states[-1]["tracer"] - state["tracer"] - grown * state["source"]).abs().max() < 1e-13
        assert (states[-1]["source"] - math.exp(-19 / 20) * state["source"]).abs().max() < 1e-13
        assert torch.equal(
            states[-1]["transient"], state["transient"]
        )  # without a lifetime it is nothing of the model's
    lasting = trajectory(model(source=1e12), state, (10.0, 4.0, 5.0))[-1]
    assert (lasting["tracer"] - state["tracer"] - 19 * state["source"]).abs().max() < 1e-8
    assert torch.equal(trajectory(model(), state, (10.0,))[-1]["tracer"], state["tracer"])


@pytest.mark.parametrize("direction", [1, -1])
def test_a_transient_motion_moves_the_parcels_by_its_integral_however_many_steps_there_are(direction: int) -> None:
    state = {"velocity": uniform(), "transient": -2 * uniform(), "tracer": torch.zeros(1, 1, *GRID.shape).double()}
    cells = torch.tensor([0.4, -0.6], dtype=torch.float64).view(1, 2, 1, 1)  # in 300 s
    here = identity(GRID.shape, uniform())
    share = (600 - 2 * 250 * (1 - math.exp(-600 / 250))) / 300
    for steps in ((600.0,), (200.0, 400.0), (50.0, 300.0, 250.0)):
        end = trajectory(model(transient=250.0), state, tuple(direction * step for step in steps))[-1]
        assert (end["position"] - here - direction * share * cells).abs().max() < 1e-12
        assert (end["transient"] - math.exp(-600 / 250) * state["transient"]).abs().max() < 1e-13
        assert torch.equal(end["velocity"], state["velocity"])


RATES = torch.tensor([[0.3, -0.8], [0.5, -0.2]], dtype=torch.float64)
FADING = torch.tensor([[-0.4, 0.2], [0.6, 0.3]], dtype=torch.float64)  # does not commute with RATES
PLANE = Grid((31, 45), (0.15, 0.1))
LIFETIME = 0.4


def about_the_middle() -> tuple[Tensor, Tensor]:
    """Metres from the middle of the plane, (1, 2, y, x), and those of a cell."""
    middle, spacing = torch.tensor([22.0, 15.0]).view(1, 2, 1, 1), torch.tensor([0.1, 0.15]).double().view(1, 2, 1, 1)
    return (identity(PLANE.shape, torch.zeros(1, dtype=torch.float64)) - middle) * spacing, spacing


def linear(matrix: Tensor, metres: Tensor) -> Tensor:
    return torch.einsum("ij,wjyx->wiyx", matrix, metres)


def propagator(end: float, parts: int = 400) -> Tensor:
    """Of dX/dt = (RATES + FADING exp(-|t| / LIFETIME)) X from 0, by fourth-order Runge-Kutta steps."""
    step, flow = end / parts, torch.eye(2, dtype=torch.float64)
    for index in range(parts):
        begin, half, after = (RATES + FADING * math.exp(-abs((index + s) * step) / LIFETIME) for s in (0, 0.5, 1))
        one = begin @ flow
        two = half @ (flow + step / 2 * one)
        three = half @ (flow + step / 2 * two)
        four = after @ (flow + step * three)
        flow = flow + step / 6 * (one + 2 * two + 2 * three + four)
    return flow


@pytest.mark.parametrize("direction", [1, -1])
def test_order_along_an_unsteady_motion(direction: int) -> None:
    metres, spacing = about_the_middle()
    state = {"velocity": linear(RATES, metres), "transient": linear(FADING, metres), "tracer": metres[:, :1]}
    exact = linear(propagator(0.5 * direction), metres)
    for iterations, expected in ((0, 1), (1, 2)):
        errors = []
        for count in (4, 8, 16, 32):
            steps = [direction * 0.5 / count * share for share in (0.5, 1.5)] * (count // 2)
            end = trajectory(model(PLANE, transient=LIFETIME, iterations=iterations), state, steps)[-1]["position"]
            moved = (end - identity(PLANE.shape, end)) * spacing
            errors.append(float((metres + moved - exact)[..., 12:19, 16:29].abs().max()))
        assert order([1 / 4, 1 / 8, 1 / 16, 1 / 32], errors) == pytest.approx(expected, abs=0.15)


def test_paths_of_an_unsteady_motion_are_put_together_from_the_last_to_the_first() -> None:
    """As a forecast does: a point of the grid at the end goes back through the last step first."""
    metres, spacing = about_the_middle()
    follow = model(PLANE, iterations=2)
    exact = linear(torch.linalg.inv(propagator(0.5)), metres)
    errors, wrong = [], []
    for count in (4, 8, 16, 32):
        ends = [0.5 * (index + 1) / count for index in range(count)]
        paths = other = follow.grid_points
        for begin, end in zip([0.0, *ends], ends, strict=False):
            left = (decay_integral(end, LIFETIME) - decay_integral(begin, LIFETIME)) / (end - begin)
            back = follow.follow(linear(RATES + left * FADING, metres), follow.grid_points, begin - end)
            paths, other = (
                compose_displacements(back, paths, follow.grid_points),
                compose_displacements(other, back, follow.grid_points),
            )
        for found, kept in ((paths, errors), (other, wrong)):
            moved = (found - follow.grid_points) * spacing
            kept.append(float((metres + moved - exact)[..., 12:19, 16:29].abs().max()))
    assert order([1 / 4, 1 / 8, 1 / 16, 1 / 32], errors) == pytest.approx(2, abs=0.15)
    assert errors[-1] < 1e-3
    assert wrong[-1] > 20 * errors[-1]  # the matrices do not commute: the other order leads elsewhere


def test_composed_displacements_are_interpolated_at_the_parcels() -> None:
    here = identity(GRID.shape, uniform())
    paths = here + torch.tensor([1.5, -0.25], dtype=torch.float64).view(1, 2, 1, 1)
    position = (here + 0.3 * random((2, 2, *GRID.shape), 22)).clamp(0, 15)
    assert (compose_displacements(position, paths, here) - position - (paths - here)).abs().max() < 1e-13
    assert torch.equal(compose_displacements(here, paths, here), here + (paths - here))
    # what lies outside goes on as its nearest point of the edge does, and keeps its distance
    outside = position + torch.tensor([40.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    bent = here + smooth((1, 2, *GRID.shape), 23)
    at_edge = outside.clone()
    at_edge[:, 0] = GRID.shape[1] - 1
    assert (
        compose_displacements(outside, bent, here) - outside - (compose_displacements(at_edge, bent, here) - at_edge)
    ).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["velocity", "transient"])
def test_a_uniform_metric_is_the_spacing(name: str) -> None:
    metric = torch.tensor(GRID.spacing, dtype=torch.float64).view(2, 1, 1).expand(2, *GRID.shape)
    state = unsteady(1, torch.float64)
    state["velocity" if name == "transient" else "transient"] = torch.zeros(1, 2, *GRID.shape).double()
    ends = [
        trajectory(model(grid, transient=400.0), state, STEPS)[-1]["position"]
        for grid in (GRID, Grid(GRID.shape, (5.0, 7.0), metric=metric))
    ]
    assert (ends[0] - ends[1]).abs().max() < 1e-12
    assert (ends[0] - identity(GRID.shape, ends[0])).abs().max() > 0.1


def test_the_operator_is_the_image_minus_the_tracer() -> None:
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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_image_without_holes_has_the_same_bits_beside_one_that_has_some(dtype: torch.dtype) -> None:
    image, tracer = smooth((2, 1, 40, 32), 24, dtype), 5 + smooth((2, 1, 40, 32), 25, dtype)
    image[1, 0, 5:9, 7:12] = torch.nan
    position = identity((40, 32), image) + random((2, 2, 40, 32), 26, dtype)

    def seen(windows: slice) -> tuple[Tensor, Tensor]:
        where = position[windows].clone().requires_grad_()
        values = ImageAtParcels(image[windows])({"position": where, "tracer": tracer[windows]})
        return values.detach(), torch.autograd.grad(values.square().sum(), where)[0]

    for alone, among in zip(seen(slice(0, 1)), seen(slice(0, 2)), strict=True):
        assert torch.equal(alone[0], among[0])


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
        return {"source": smooth((3, 1, *GRID.shape), 19, waves=1)[:windows].to(dtype) / 300}

    def problem(self, dtype: torch.dtype, windows: int = 3) -> Problem:
        shape = (windows, 1, *GRID.shape)
        source = self.truth(torch.float64, windows)["source"]
        first = 3 * smooth((3, 1, *GRID.shape), 20)[:windows]
        observations = []
        for index in (1, 2):
            image = first + 300 * index * source  # without any motion
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
            dynamics=Parcels(source=1e6),
            steps=self.steps,
            background={
                "velocity": torch.full((windows, 2, *GRID.shape), 0.01, dtype=dtype),
                "tracer": first.to(dtype),
                "source": torch.zeros(shape, dtype=dtype),
            },
            background_error={
                "velocity": Tikhonov(gradient=3e7, curvature=3e13, mean_std=0.1),
                "source": Diagonal(1 / 300),
            },
            observations=tuple(observations),
        )


class TestTransientWindow(WindowConformance):
    """A decaying motion is unknown, a steady one is known; backward in time, as for the newest pair of images."""

    goal = 0.7
    steps = (-150.0, -150.0)

    def truth(self, dtype: torch.dtype, windows: int = 3) -> State:
        return {"transient": (0.8 * uniform() + 0.5 * smooth((3, 2, *GRID.shape), 31, waves=1))[:windows].to(dtype)}

    def problem(self, dtype: torch.dtype, windows: int = 3) -> Problem:
        shape = (windows, 1, *GRID.shape)
        state = {
            "velocity": 0.5 * uniform(windows),
            **self.truth(torch.float64, windows),
            "tracer": 10 * smooth((3, 1, *GRID.shape), 32, waves=1)[:windows],
        }
        states = trajectory(model(transient=300.0, iterations=3), state, self.steps)
        std = torch.full((1, 1, *GRID.shape), 1e3, dtype=dtype)
        std[..., 3:-3, 3:-3] = 0.3
        observations = []
        for index in (1, 2):
            # The image that these parcels make: what is at a point of the grid is where the inverse of the paths leads.
            here = identity(GRID.shape, uniform()).expand(windows, -1, -1, -1)
            came = here
            for _ in range(30):
                came = here - sample(states[index]["position"] - here, came, "cubic")
            image = sample(state["tracer"], came, "cubic").to(dtype)
            zero = torch.zeros(shape, dtype=dtype)
            observations.append(Observation(-150.0 * index, ImageAtParcels(image), zero, std))
        return Problem(
            grid=GRID,
            dynamics=Parcels(transient=300.0),
            steps=self.steps,
            background={
                **{key: values.to(dtype) for key, values in state.items()},
                "transient": torch.full((windows, 2, *GRID.shape), 0.01, dtype=dtype),
            },
            background_error={"transient": Tikhonov(gradient=3e5, curvature=3e11, mean_std=1.0)},
            observations=tuple(observations),
        )
