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
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import Grid, block_mean
from xvar.core.interpolate import identity, sample
from xvar.core.models.parcels import Drift, ImageAgainstLater, Parcels
from xvar.core.observation import Observation
from xvar.core.problem import Problem

GRID = Grid((16, 20), (900.0, 1300.0))
STEPS = (-300.0, -200.0, -400.0)


def model(grid: Grid = GRID, dtype: torch.dtype = torch.float64, reach: int | None = None) -> Drift:
    return Drift(reach).bind(grid, dtype=dtype, device=torch.device("cpu"))


def uniform(windows: int = 1) -> Tensor:
    """0.4 and -0.6 of a cell in 300 s."""
    rates = torch.tensor([0.4 * 1300 / 300, -0.6 * 900 / 300], dtype=torch.float64)
    return rates.view(1, 2, 1, 1).expand(windows, 2, *GRID.shape).clone()


def unsteady(windows: int, dtype: torch.dtype) -> State:
    """All that a state may hold."""
    return {
        "velocity": 2.0 * smooth((windows, 2, *GRID.shape), 1, dtype),
        "model_error": 1.5 / 300 * smooth((windows, 2, *GRID.shape), 21, dtype),
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
            "source": zero,
            "error": zero,
        }
        steps = (-150.0, -150.0)
        states = trajectory(model(), state, steps)
        inner = torch.full((1, 1, *GRID.shape), 1e3)
        inner[..., 3:-3, 3:-3] = 0.1
        gone = torch.tensor([0.0, -150.0, -300.0], dtype=dtype).view(3, 1, 1, 1, 1)
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
                    ImageAgainstLater(
                        image, last.to(dtype), gone[index], 0.0, std, std.new_ones(1, 1, 1, 1), error_std=std
                    ),
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
    state = {key: values for key, values in unsteady(2, torch.float64).items() if key == "velocity"}
    other = Parcels(iterations=2).bind(GRID, dtype=torch.float64, device=torch.device("cpu"))
    steps = (-2.0,) * 60
    nothing = torch.zeros_like(state["velocity"][:, :1])
    found, expected = (
        trajectory(which, {**state, "tracer": nothing}, steps)[-1]["position"] for which in (model(), other)
    )
    assert (found - expected).abs().max() < 1e-4
    assert (found - identity(GRID.shape, found)).abs().max() > 0.1


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_parcels_of_every_image_are_followed_as_those_of_the_last_one_would_be(reach: int) -> None:
    """Parcels of an earlier image, as if the window ended there, and only for `reach` steps."""
    state = unsteady(2, torch.float64)
    all_states = trajectory(model(reach=reach), state, STEPS)
    rows = GRID.shape[0]
    for first in range(len(STEPS)):
        shifted = {**state, "velocity": state["velocity"] + sum(STEPS[:first]) * state["model_error"]}
        alone = trajectory(model(), shifted, STEPS[first:])
        for index in range(first, len(STEPS) + 1):
            generation = first - max(0, index - reach)  # the latest images come first
            if generation >= 0:
                found = all_states[index]["position"][:, :, generation * rows : (generation + 1) * rows]
                assert (found - alone[index - first]["position"]).abs().max() < 1e-12
    assert all_states[-1]["position"].shape[2] == rows * (min(reach, len(STEPS)) + 1)


RATES = torch.tensor([[0.3, -0.8], [0.5, -0.2]], dtype=torch.float64)
CHANGE = torch.tensor([[-0.4, 0.2], [0.6, 0.3]], dtype=torch.float64)  # does not commute with RATES
PLANE = Grid((31, 45), (0.15, 0.1))


def propagator(end: float, parts: int = 400) -> Tensor:
    """Of dX/dt = (RATES + t CHANGE) X from 0, by fourth-order Runge-Kutta steps."""
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
    state = {"velocity": velocity, "model_error": change}
    exact = torch.einsum("ij,wjyx->wiyx", propagator(0.5 * direction), metres)
    errors = []
    for count in (4, 8, 16, 32):
        end = trajectory(model(PLANE), state, [direction * 0.5 / count] * count)[-1]
        moved = (end["position"] - identity(PLANE.shape, metres)) * spacing
        errors.append(float((metres + moved - exact)[..., 12:19, 16:29].abs().max()))
        assert (end["velocity"] - velocity - 0.5 * direction * change).abs().max() < 1e-12
    assert order([1 / 4, 1 / 8, 1 / 16, 1 / 32], errors) == pytest.approx(2, abs=0.2)
    assert errors[-1] < 2e-3


def test_the_change_of_the_motion_does_not_depend_on_the_steps() -> None:
    state = unsteady(2, torch.float64)
    for steps in (STEPS, (-900.0,), (-1.0, -899.0)):
        end = trajectory(model(), state, steps)[-1]
        assert (end["velocity"] - state["velocity"] + 900 * state["model_error"]).abs().max() < 1e-12


def test_a_uniform_metric_is_the_spacing() -> None:
    metric = torch.tensor(GRID.spacing, dtype=torch.float64).view(2, 1, 1).expand(2, *GRID.shape)
    ends = [
        trajectory(model(grid), unsteady(1, torch.float64), STEPS)[-1]["position"]
        for grid in (GRID, Grid(GRID.shape, (5.0, 7.0), metric=metric))
    ]
    assert (ends[0] - ends[1]).abs().max() < 1e-12


# ---- the operator


GONE = torch.tensor([-900.0, -300.0], dtype=torch.float64).view(1, 2, 1, 1)


def operator(mask: Tensor | None = None, known: Tensor | None = None, *, with_error: bool = True) -> ImageAgainstLater:
    """An image against two later ones."""
    image, later = smooth((2, 1, *GRID.shape), 10), smooth((2, 2, *GRID.shape), 11)
    difference, slope = smooth((2, 2, *GRID.shape), 12).square(), torch.tensor([1.1, 0.8]).double().view(1, 2, 1, 1)
    error_std = 0.2 + smooth((2, 1, *GRID.shape), 13).square() if with_error else None
    return ImageAgainstLater(image, later, GONE, 0.3, difference, slope, error_std, mask, known)


def placed() -> State:
    """Positions of the parcels of two images, above those of the image itself."""
    rows = torch.cat([identity(GRID.shape, torch.zeros((), dtype=torch.float64))] * 3, dim=2)
    return {
        "position": rows + random((2, 2, *rows.shape[2:]), 14),
        "source": smooth((2, 1, *GRID.shape), 15) / 300,
        "error": smooth((2, 1, *GRID.shape), 16),
    }


@pytest.mark.parametrize("with_error", [True, False])
def test_the_operator_is_its_formula(with_error: bool) -> None:
    one, state = operator(with_error=with_error), placed()
    found = one(state)
    rows = GRID.shape[0]
    for index in range(2):
        seen = sample(one.image, state["position"][:, :, index * rows : (index + 1) * rows])[:, 0]
        heated = GONE[0, index] * state["source"][:, 0]
        own = one.error_std[:, 0] * state["error"][:, 0] if one.error_std is not None and index == 0 else 0.0
        expected = (seen - one.later[:, index] - heated - own) / one.std[:, index]
        assert (found[:, index] - expected).abs().max() < 1e-13
    whole = torch.ones_like(one.image)
    masked = replace(one, mask=whole, known=whole.expand(-1, 2, -1, -1))
    assert (masked(state) - found).abs().max() < 1e-13


def test_in_a_hole_nothing_is_seen() -> None:
    one = operator()
    mask = torch.ones_like(one.image)
    mask[..., 2:6, 3:9] = 0
    known = mask.expand(-1, 2, -1, -1)
    state = placed()
    holed = replace(one, image=one.image * mask, mask=mask, known=known)
    inside = {**state, "position": torch.full_like(state["position"], 4.3)}
    assert torch.equal(holed(inside), torch.zeros_like(one.later))
    # half in the hole: what is there counts in proportion, and a constant is seen without a difference
    constant = replace(holed, image=3 * mask, later=torch.full_like(one.later, 3.0))
    calm = {**state, "source": torch.zeros_like(one.image), "error": torch.zeros_like(one.image)}
    assert constant(calm).abs().max() < 1e-12


@pytest.mark.parametrize("holes", [False, True])
def test_adjoint_of_the_operator(holes: bool) -> None:
    mask = (smooth((2, 1, *GRID.shape), 17) > -0.2).double() if holes else None
    one = operator(mask, None if mask is None else mask.expand(-1, 2, -1, -1))
    state = placed()
    sizes = [values.numel() for values in state.values()]

    def function(flat: Tensor) -> Tensor:
        parts = flat.split(sizes)
        return one({key: part.view_as(state[key]) for key, part in zip(state, parts, strict=True)})

    point = torch.cat([values.flatten() for values in state.values()])
    value = function(point)
    assert adjoint_error(function, point, random(point.shape, 18), random(value.shape, 19)) < 1e-13


def test_selected_windows_and_blocks() -> None:
    mask = (smooth((2, 1, *GRID.shape), 17) > -0.2).double()
    known = torch.cat([mask, torch.ones_like(mask)], dim=1)
    both = operator(mask, known)
    one = both.select(torch.tensor([1]))
    state = {key: values[1:] for key, values in placed().items()}
    assert torch.equal(one(state)[0], both(placed())[1])
    coarse = both.coarsen(2)
    assert torch.equal(coarse.mask, block_mean(mask, 2))
    # of the later images, means over what is known
    blocks = block_mean(known * both.later, 2)[coarse.known > 0] / coarse.known[coarse.known > 0]
    assert (coarse.later[coarse.known > 0] - blocks).abs().max() < 1e-12
    assert (coarse.std > 0).all()
    whole = operator().coarsen(2)
    with_mask = operator(torch.ones_like(mask), torch.ones_like(known)).coarsen(2)
    for name in ("image", "later", "std", "error_std"):
        assert (getattr(whole, name) - getattr(with_mask, name)).abs().max() < 1e-12
    assert math.prod(whole.image.shape[-2:]) == math.prod(GRID.shape) // 4
