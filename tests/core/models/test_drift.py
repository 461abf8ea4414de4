from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.core.models.conformance import (
    SmoothStepConformance,
    StepCase,
    StepConformance,
    WindowConformance,
)
from tests.core.numerics import adjoint_error, order, random, smooth
from xvar.core.covariance import Diagonal, Tikhonov
from xvar.core.drift import Drift, FollowDrift, ImageAgainstLast
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import Grid, block_mean
from xvar.core.interpolate import identity, sample
from xvar.core.observation import Observation
from xvar.core.parcels import Parcels
from xvar.core.problem import Problem

GRID = Grid((16, 20), (900.0, 1300.0))
STEPS = (-300.0, -200.0, -400.0)


def model(grid: Grid = GRID, dtype: torch.dtype = torch.float64) -> FollowDrift:
    return Drift().bind(grid, dtype=dtype, device=torch.device("cpu"))


def uniform(windows: int = 1) -> Tensor:
    """0.4 and -0.6 of a cell in 300 s."""
    rates = torch.tensor([0.4 * 1300 / 300, -0.6 * 900 / 300], dtype=torch.float64)
    return rates.view(1, 2, 1, 1).expand(windows, 2, *GRID.shape).clone()


def unsteady(windows: int, dtype: torch.dtype) -> State:
    """All that a state may hold."""
    return {
        "velocity": 2.0 * smooth((windows, 2, *GRID.shape), 1, dtype),
        "model_error": 1.5 / 300 * smooth((windows, 2, *GRID.shape), 21, dtype),
        "tracer": smooth((windows, 1, *GRID.shape), 2, dtype),
        "source": smooth((windows, 1, *GRID.shape), 3, dtype) / 300,
        "error": smooth((windows, 1, *GRID.shape), 4, dtype),
    }


class TestStep(StepConformance):
    @pytest.fixture(params=[-1, 1])
    def case(self, request: pytest.FixtureRequest) -> StepCase:
        return StepCase(
            model=lambda dtype: model(dtype=dtype),
            state=unsteady,
            steps=tuple(-request.param * step for step in STEPS),
        )


class TestPerfectStep(StepConformance):
    """Without a model error there is none in the state."""

    @pytest.fixture
    def case(self) -> StepCase:
        def state(windows: int, dtype: torch.dtype) -> State:
            return {key: values for key, values in unsteady(windows, dtype).items() if key != "model_error"}

        return StepCase(model=lambda dtype: model(dtype=dtype), state=state, steps=STEPS)


class TestUniformStep(SmoothStepConformance):
    """No parcel crosses a cell: the step is smooth in all that it takes."""

    @pytest.fixture
    def case(self) -> StepCase:
        def state(windows: int, dtype: torch.dtype) -> State:
            return {
                **unsteady(windows, dtype),
                "velocity": uniform(windows).to(dtype),
                "model_error": uniform(windows).to(dtype) / 3000,
            }

        return StepCase(model=lambda dtype: model(dtype=dtype), state=state, steps=STEPS[:2], largest=0.01)


class TestWindow(WindowConformance):
    """Back in time from the last image: motion and its change are unknown, as in `Currents`."""

    goal = 0.7

    def truth(self, dtype: torch.dtype, windows: int = 3) -> State:
        motion = 0.4 * uniform() + 0.4 * smooth((3, 2, *GRID.shape), 31, waves=1)
        return {"velocity": motion[:windows].to(dtype)}

    def problem(self, dtype: torch.dtype, windows: int = 3) -> Problem:
        last = 10 * smooth((3, 1, *GRID.shape), 32)[:windows]
        zero = torch.zeros_like(last)
        state = {
            **self.truth(torch.float64, windows),
            "model_error": (1e-4 * uniform()).expand(windows, -1, -1, -1),
            "tracer": zero,
            "source": zero,
            "error": zero,
        }
        steps = (-150.0, -150.0)
        states = trajectory(model(), state, steps)
        inner = torch.full((1, 1, *GRID.shape), 1e3)
        inner[..., 3:-3, 3:-3] = 0.1
        observations = []
        for index in (1, 2):
            here = identity(GRID.shape, last).expand(windows, -1, -1, -1)
            came = here
            for _ in range(30):  # what is at a point of the grid is where the inverse of the paths leads
                came = here - sample(states[index]["position"] - here, came, "cubic")
            image = sample(last, came, "cubic").to(dtype)
            std = inner.to(dtype).expand_as(image)
            observations.append(
                Observation(
                    -150.0 * index,
                    ImageAgainstLast(image, last.to(dtype), std, std),
                    zero.to(dtype),
                    torch.tensor(1.0, dtype=dtype),
                )
            )
        background = {key: torch.zeros_like(values, dtype=dtype) for key, values in state.items()}
        return Problem(
            grid=GRID,
            dynamics=Drift(),
            steps=steps,
            background={**background, "velocity": torch.full_like(background["velocity"], 0.01)},
            background_error={
                "velocity": Tikhonov(gradient=3e6, curvature=3e12, mean_std=1.0),
                "model_error": Tikhonov(gradient=3e12, curvature=3e18, mean_std=1e-4),
                "source": Diagonal(1e-5),
                "error": Diagonal(1.0),
            },
            observations=tuple(observations),
            held_errors=("model_error",),
        )


# ---- the model


def test_steady_parcels_are_those_of_the_other_model_but_for_the_middle_of_the_step() -> None:
    state = {key: values for key, values in unsteady(2, torch.float64).items() if key not in ("model_error", "error")}
    other = Parcels(source=1e12, iterations=2).bind(GRID, dtype=torch.float64, device=torch.device("cpu"))
    steps = (-2.0,) * 60
    found, expected = (trajectory(which, state, steps)[-1] for which in (model(), other))
    assert (found["position"] - expected["position"]).abs().max() < 1e-4
    assert (found["position"] - identity(GRID.shape, found["position"])).abs().max() > 0.1
    assert (found["tracer"] - expected["tracer"]).abs().max() < 1e-8


RATES = torch.tensor([[0.3, -0.8], [0.5, -0.2]], dtype=torch.float64)
CHANGE = torch.tensor([[-0.4, 0.2], [0.6, 0.3]], dtype=torch.float64)  # does not commute with RATES
PLANE = Grid((31, 45), (0.15, 0.1))


def propagator(end: float, parts: int = 400) -> Tensor:
    """Of dX/dt = (RATES + t CHANGE) X from 0, by the fourth order of Runge and Kutta."""
    step, flow = end / parts, torch.eye(2, dtype=torch.float64)
    for index in range(parts):
        begin, half, after = (RATES + (index + share) * step * CHANGE for share in (0, 0.5, 1))
        one = begin @ flow
        two = half @ (flow + step / 2 * one)
        three = half @ (flow + step / 2 * two)
        four = after @ (flow + step * three)
        flow = flow + step / 6 * (one + 2 * two + 2 * three + four)
    return flow


@pytest.mark.parametrize("direction", [1, -1])
def test_it_is_of_second_order_along_a_motion_that_changes(direction: int) -> None:
    middle, spacing = (torch.tensor(pair, dtype=torch.float64).view(1, 2, 1, 1) for pair in ((22.0, 15.0), (0.1, 0.15)))
    metres = (identity(PLANE.shape, torch.zeros(1, dtype=torch.float64)) - middle) * spacing
    velocity, change = (torch.einsum("ij,wjyx->wiyx", matrix, metres) for matrix in (RATES, CHANGE))
    nothing = torch.zeros_like(metres[:, :1])
    state = {"velocity": velocity, "model_error": change, "tracer": nothing, "source": nothing}
    exact = torch.einsum("ij,wjyx->wiyx", propagator(0.5 * direction), metres)
    errors = []
    for count in (4, 8, 16, 32):
        end = trajectory(model(PLANE), state, [direction * 0.5 / count] * count)[-1]
        moved = (end["position"] - identity(PLANE.shape, metres)) * spacing
        errors.append(float((metres + moved - exact)[..., 12:19, 16:29].abs().max()))
        assert (end["velocity"] - velocity - 0.5 * direction * change).abs().max() < 1e-12
    assert order([1 / 4, 1 / 8, 1 / 16, 1 / 32], errors) == pytest.approx(2, abs=0.2)
    assert errors[-1] < 2e-3


def test_what_is_added_does_not_depend_on_the_steps() -> None:
    state = unsteady(2, torch.float64)
    for steps in (STEPS, (-900.0,), (-1.0, -899.0)):
        end = trajectory(model(), state, steps)[-1]
        assert (end["tracer"] - state["tracer"] + 900 * state["source"]).abs().max() < 1e-12
        assert (end["velocity"] - state["velocity"] + 900 * state["model_error"]).abs().max() < 1e-12


def test_a_uniform_metric_is_the_spacing() -> None:
    metric = torch.tensor(GRID.spacing, dtype=torch.float64).view(2, 1, 1).expand(2, *GRID.shape)
    ends = [
        trajectory(model(grid), unsteady(1, torch.float64), STEPS)[-1]["position"]
        for grid in (GRID, Grid(GRID.shape, (5.0, 7.0), metric=metric))
    ]
    assert (ends[0] - ends[1]).abs().max() < 1e-12


# ---- the operator


def images() -> tuple[Tensor, ...]:
    image, last = smooth((2, 1, *GRID.shape), 10), smooth((2, 1, *GRID.shape), 11)
    std, last_std = (0.3 + smooth((2, 1, *GRID.shape), seed).square() for seed in (12, 13))
    return image, last, std, last_std


def placed() -> State:
    image = images()[0]
    return {
        "position": identity(GRID.shape, image) + random((2, 2, *GRID.shape), 14),
        "tracer": smooth((2, 1, *GRID.shape), 15),
        "error": smooth((2, 1, *GRID.shape), 16),
    }


def test_the_operator_is_its_formula() -> None:
    image, last, std, last_std = images()
    state = placed()
    seen = sample(image, state["position"])
    expected = (seen - last - last_std * state["error"] - state["tracer"]) / std
    assert (ImageAgainstLast(*images())(state) - expected).abs().max() < 1e-13
    whole = torch.ones_like(image)
    assert (ImageAgainstLast(*images(), mask=whole, known=whole)(state) - expected).abs().max() < 1e-13


def test_in_a_hole_nothing_is_seen_and_its_filling_counts_for_nothing() -> None:
    image, last, std, last_std = images()
    mask = torch.ones_like(image)
    mask[..., 2:6, 3:9] = 0
    state = placed()

    def seen(filling: float, state: State) -> Tensor:
        filled = torch.where(mask > 0, image, torch.zeros_like(image))
        return ImageAgainstLast(filled, last + filling * 0, std, last_std, mask=mask, known=mask)(state)

    inside = {**state, "position": torch.full_like(state["position"], 4.3)}
    assert torch.equal(seen(0.0, inside), torch.zeros_like(image))
    # half in the hole: what is there counts in proportion, and a constant is seen without a difference
    constant = ImageAgainstLast(3 * mask, torch.full_like(last, 3.0), std, last_std, mask=mask, known=mask)
    calm = {**state, "tracer": torch.zeros_like(last), "error": torch.zeros_like(last)}
    assert constant(calm).abs().max() < 1e-12


@pytest.mark.parametrize("holes", [False, True])
def test_adjoint_of_the_operator(holes: bool) -> None:
    mask = (smooth((2, 1, *GRID.shape), 17) > -0.2).double() if holes else None
    operator = ImageAgainstLast(*images(), mask=mask, known=mask)
    state = placed()
    sizes = [values.numel() for values in state.values()]

    def function(flat: Tensor) -> Tensor:
        parts = flat.split(sizes)
        return operator({key: part.view_as(state[key]) for key, part in zip(state, parts, strict=True)})

    point = torch.cat([values.flatten() for values in state.values()])
    value = function(point)
    assert adjoint_error(function, point, random(point.shape, 18), random(value.shape, 19)) < 1e-13


def test_selected_windows_and_blocks() -> None:
    mask = (smooth((2, 1, *GRID.shape), 17) > -0.2).double()
    operator = ImageAgainstLast(*images(), mask=mask, known=mask)
    one = operator.select(torch.tensor([1]))
    state = {key: values[1:] for key, values in placed().items()}
    assert torch.equal(one(state)[0], operator(placed())[1])
    coarse = operator.coarsen(2)
    assert torch.equal(coarse.mask, block_mean(mask, 2))
    # of the last image, means over what is known
    blocks = block_mean(mask * operator.last, 2)[coarse.mask > 0] / coarse.mask[coarse.mask > 0]
    assert (coarse.last[coarse.mask > 0] - blocks).abs().max() < 1e-12
    assert (coarse.std > 0).all()
    whole = ImageAgainstLast(*images()).coarsen(2)
    with_mask = replace(operator, mask=torch.ones_like(mask), known=torch.ones_like(mask)).coarsen(2)
    for name in ("image", "last", "std", "last_std"):
        assert (getattr(whole, name) - getattr(with_mask, name)).abs().max() < 1e-12
    assert math.prod(whole.image.shape[-2:]) == math.prod(GRID.shape) // 4
