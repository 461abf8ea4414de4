from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.linear import Dense, LinearModel, covariance_matrix
from tests.core.models.lorenz96 import Lorenz96
from tests.core.numerics import DTYPES, random, relative, smooth, taylor_orders
from xvar.core.advection import Advection
from xvar.core.cost import Cost, CostOfBatch, total
from xvar.core.covariance import Diagonal, Tikhonov
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import Grid
from xvar.core.observation import Component, Observation
from xvar.core.problem import ForcedSteps, Problem, frame_steps

SIZE = 5
RATES = random((SIZE, SIZE), 1)
STEPS = (0.1, 0.3, 0.2, 0.15)
ENDS = (0.0, 0.1, 0.4, 0.6, 0.75)


def linear(observations: tuple[Observation, ...] = (), windows: int = 2, **settings: Any) -> Problem:
    return Problem(
        grid=Grid((SIZE,), (1.0,)),
        dynamics=LinearModel(RATES),
        background={"x": random((windows, 1, SIZE), 2)},
        observations=observations,
        **{"steps": STEPS, "background_error": {"x": Dense(covariance_matrix(SIZE, 3))}, **settings},
    )


def observed(time: float, seed: int = 4, windows: int = 2, **settings: Any) -> Observation:
    return Observation(time, Component("x"), random((windows, 1, SIZE), seed), torch.tensor(0.5).double(), **settings)


def half_square(values: Tensor) -> Tensor:
    return 0.5 * values.square().flatten(1).sum(1)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("sign", [1, -1])
def test_observations_between_the_steps(interpolation: str, sign: int) -> None:
    """Shares of the way of a quarter and of three quarters, of each step; the first falls nearest to the control."""
    steps = tuple(sign * step for step in STEPS)
    control = random((2, SIZE), 5)
    for index, step in enumerate(STEPS):
        for share in (0.25, 0.75):
            observation = observed(sign * (ENDS[index] + share * step))
            cost = Cost(linear((observation,), steps=steps, time_interpolation=interpolation))
            states = trajectory(LinearModel(RATES), cost.initial_state(control), steps)
            weight = share if interpolation == "linear" else float(share > 0.5)
            state = (1 - weight) * states[index]["x"] + weight * states[index + 1]["x"]
            expected = half_square((state - observation.values) / 0.5)
            assert relative(cost.terms(control)["observation"], expected) < 1e-13


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_the_gradient_by_differences_with_observations_between_the_steps(interpolation: str) -> None:
    several = tuple(observed(time, 35 + index) for index, time in enumerate((0.04, 0.2, 0.55, 0.7)))
    weak = ForcedSteps({"x": Dense(covariance_matrix(SIZE, 7))}, ((0,), (1, 2, 3)))
    cost = Cost(linear(several, time_interpolation=interpolation, model_error=weak))
    control, direction = random(cost.zero().shape, 39), random(cost.zero().shape, 40)
    _, gradient = cost.gradient(control)
    slope = (cost.value(control + 1e-5 * direction) - cost.value(control - 1e-5 * direction)) / 2e-5
    assert relative((gradient * direction).sum(1), slope) < 1e-8


def test_observations_at_the_ends_of_steps_are_neither_interpolated_nor_moved() -> None:
    for slip in (0.0, 1e-9, -1e-9):
        for index, end in enumerate(ENDS):
            for interpolation in ("linear", "nearest"):
                observation = observed(end + slip)
                cost = Cost(linear((observation,), time_interpolation=interpolation))
                state = cost.trajectory(cost.zero())[index]["x"]
                expected = half_square((state - observation.values) / 0.5)
                assert relative(cost.terms(cost.zero())["observation"], expected) < 1e-7
                if slip <= 0:
                    assert torch.equal(cost.terms(cost.zero())["observation"], expected)


def test_every_observation_counts_once_whatever_their_order() -> None:
    times = (0.75, 0.0, 0.4, 0.33, 0.4, 0.05)
    several = tuple(observed(time, 10 + index) for index, time in enumerate(times))
    control = random((2, SIZE), 6)
    whole = Cost(linear(several)).terms(control)["observation"]
    alone = [Cost(linear((one,))).terms(control)["observation"] for one in several]
    assert relative(whole, sum(alone)) < 1e-13
    assert relative(Cost(linear(several[::-1])).terms(control)["observation"], whole) < 1e-13
    assert linear(several).number_of_observations().tolist() == [30, 30]


@pytest.mark.parametrize("time", [-0.1, -1e-3, 0.76, 10.0])
def test_an_observation_outside_the_window_is_refused(time: float) -> None:
    with pytest.raises(ValueError, match="outside the window"):
        Cost(linear((observed(time),)))
    with pytest.raises(ValueError, match="outside the window"):
        Cost(linear((observed(-time),), steps=tuple(-step for step in STEPS)))


def test_terms_by_hand() -> None:
    """J = ½ δxᵀ B⁻¹ δx + ½ Σ ηᵀ Q⁻¹ η + J_o, each named."""
    weak = ForcedSteps({"x": Dense(covariance_matrix(SIZE, 7))}, ((0,), (1, 2), (3,)))
    observation = observed(0.75)
    cost = Cost(linear((observation,), model_error=weak))
    control = random(cost.zero().shape, 8)
    terms = cost.terms(control)
    assert list(terms) == ["background", "model_error", "observation"]
    increment = cost.increment(control)["x"][:, 0]
    inverse = torch.linalg.inv(covariance_matrix(SIZE, 3))
    assert relative(terms["background"], 0.5 * ((increment @ inverse) * increment).sum(1)) < 1e-12
    forcing = cost.forcing(control)
    inverse, expected = torch.linalg.inv(covariance_matrix(SIZE, 7)), torch.zeros(2, dtype=torch.float64)
    for steps in weak.steps:
        error = sum(forcing[step]["x"][:, 0] for step in steps)
        expected += 0.5 * ((error @ inverse) * error).sum(1) / sum(STEPS[step] for step in steps)
    assert relative(terms["model_error"], expected) < 1e-12
    state = cost.trajectory(control)[-1]["x"]
    assert relative(terms["observation"], half_square((state - observation.values) / 0.5)) < 1e-12
    assert torch.equal(cost.value(control), total(terms))
    assert all((term >= 0).all() for term in terms.values())
    assert torch.equal(cost.terms(cost.zero())["background"], torch.zeros(2, dtype=torch.float64))


def test_fields_and_control_are_inverse() -> None:
    weak = ForcedSteps({"x": Dense(covariance_matrix(SIZE, 7))}, ((0,), (1, 2, 3)))
    cost = Cost(linear(model_error=weak))
    control = random(cost.zero().shape, 9)
    # not the same control where the root is not symmetric, but that of the same fields and the same J_b
    again = cost.control(cost.fields(control))
    for one, other in zip(cost.fields(again), cost.fields(control), strict=True):
        assert relative(one, other) < 1e-12
    assert relative(again.square().sum(1), control.square().sum(1)) < 1e-12
    grid = Grid((8, 9), (1.0, 2.0))
    fields = smooth((2, 2, 8, 9), 10)
    problem = Problem(
        grid, Advection(), (1.0,), {"velocity": fields}, {"velocity": Tikhonov(gradient=1.0, mean_std=1.0)}, ()
    )
    cost = Cost(problem)
    assert relative(cost.fields(cost.control([fields]))[0], fields) < 1e-12


@pytest.mark.parametrize("dtype", DTYPES)
def test_windows_named_by_the_minimiser_have_the_bits_of_the_batch(dtype: torch.dtype) -> None:
    """With a standard deviation, a curvature and observations of each window's own."""
    std = 0.5 + random((4, 1, SIZE), 11).abs()
    observations = (
        Observation(0.4, Component("x"), random((4, 1, SIZE), 12, dtype), std.to(dtype)),
        Observation(0.75, Component("x"), random((4, 1, SIZE), 13, dtype), std[:, :, :1].to(dtype), threshold=1.0),
    )
    problem = linear(
        observations,
        4,
        background_error={"x": Diagonal(std + 1)},
        model_error=ForcedSteps({"x": Diagonal(std)}, ((0, 1), (2,), (3,))),
    )
    problem = replace(problem, background={"x": problem.background["x"].to(dtype)})
    cost, of_batch = Cost(problem), CostOfBatch(problem)
    control = random(cost.zero().shape, 14, dtype)
    whole = cost.gradient(control)
    for windows in ([0, 1, 2, 3], [1], [2, 3], [3, 0, 1], [0, 1, 2, 3]):
        chosen = torch.tensor(windows)
        found = of_batch(control[chosen], chosen)
        alone = Cost(problem.select(chosen))
        assert all(torch.equal(one, among[chosen]) for one, among in zip(found, whole, strict=True))
        if len(windows) == 1:
            single = replace(
                problem.select(chosen),
                background_error={"x": Diagonal((std + 1)[chosen])},
                model_error=replace(problem.model_error, covariance={"x": Diagonal(std[chosen])}),
            )
            alone = Cost(single)
            assert all(torch.equal(one, two) for one, two in zip(found, alone.gradient(control[chosen]), strict=True))


def test_deviations_by_component_are_not_taken_for_windows() -> None:
    """(component, y, x) is broadcast over windows, however many there are."""
    grid = Grid((4, 5), (1.0, 1.0))
    std = 0.5 + random((2, 4, 5), 15).abs()
    observation = Observation(1.0, Component("velocity"), random((2, 2, 4, 5), 16), std)
    problem = Problem(
        grid, Advection(), (1.0,), {"velocity": smooth((2, 2, 4, 5), 17)}, {"velocity": Diagonal(std)}, (observation,)
    )
    of_batch = CostOfBatch(problem)
    control = random((2, 40), 18)
    whole = of_batch(control, torch.tensor([0, 1]))
    for window in range(2):
        found = of_batch(control[window : window + 1], torch.tensor([window]))
        assert all(torch.equal(one[0], among[window]) for one, among in zip(found, whole, strict=True))


def test_direct_insertion_replaces_after_the_misfit_and_cuts_the_adjoint() -> None:
    model = Lorenz96()
    seen = random((1, 1, 40), 19)
    seen[..., ::4] = torch.nan
    first, last = random((1, 1, 40), 20), random((1, 1, 40), 21)

    def problem(replaces: str | None) -> Problem:
        return Problem(
            Grid((40,), (1.0,)),
            model,
            (0.05, 0.05),
            {"x": first},
            {"x": Diagonal(1.0)},
            (
                Observation(0.05, Component("x"), seen, torch.tensor(1.0).double(), replaces=replaces),
                Observation(0.1, Component("x"), last, torch.tensor(1.0).double()),
            ),
        )

    cost = Cost(problem("x"))
    control = random((1, 40), 22)
    middle = model({"x": first + control[:, None]}, 0.05)["x"]
    replaced = torch.where(seen.isfinite(), seen, middle)
    end = model({"x": replaced}, 0.05)["x"]
    misfit = half_square(torch.where(seen.isfinite(), middle - seen, 0.0)) + half_square(end - last)
    assert relative(cost.terms(control)["observation"], misfit) < 1e-13
    states = cost.trajectory(control)
    assert torch.equal(states[1]["x"], replaced)
    assert torch.equal(states[2]["x"], end)
    # where everything is replaced, what comes after does not depend on the control
    whole = replace(
        problem("x"),
        observations=(replace(problem("x").observations[0], values=last, valid=None), problem("x").observations[1]),
    )
    later = replace(
        whole, observations=(whole.observations[0], replace(whole.observations[1], values=last + 1, valid=None))
    )
    assert torch.equal(Cost(whole).gradient(control)[1], Cost(later).gradient(control)[1])
    plain, other = (
        replace(one, observations=tuple(replace(o, replaces=None) for o in one.observations)) for one in (whole, later)
    )
    assert not torch.equal(Cost(plain).gradient(control)[1], Cost(other).gradient(control)[1])


def test_direct_insertion_at_the_time_of_the_control() -> None:
    seen = random((2, 1, SIZE), 23)
    start = Observation(0.0, Component("x"), seen, torch.tensor(0.5).double(), replaces="x")
    cost = Cost(linear((start, observed(0.75))))
    control = random((2, SIZE), 24)
    states = cost.trajectory(control)
    assert torch.equal(states[0]["x"], seen)
    background = half_square((cost.initial_state(control)["x"] - seen) / 0.5)
    end = half_square((states[-1]["x"] - observed(0.75).values) / 0.5)
    assert relative(cost.terms(control)["observation"], background + end) < 1e-13


def test_the_divergence_is_a_term_of_its_own_and_of_the_gradient() -> None:
    grid = Grid((8, 9), (1.0, 2.0))
    prior = Tikhonov(gradient=1.0, divergence=3.0, mean_std=1.0)
    state = {"velocity": smooth((2, 2, 8, 9), 25), "tracer": smooth((2, 1, 8, 9), 26)}
    problem = Problem(grid, Advection(), (1.0,), state, {"velocity": prior}, ())
    cost = Cost(problem)
    control = random(cost.zero().shape, 27)
    terms = cost.terms(control)
    assert list(terms) == ["background", "divergence", "observation"]
    assert (terms["divergence"] > 0).all()
    expected = prior.penalties(grid)["divergence"](cost.increment(control)["velocity"])
    assert torch.equal(terms["divergence"], expected)
    direction = random(control.shape, 28)
    value, gradient = cost.gradient(control)
    slope = (cost.value(control + 1e-6 * direction) - cost.value(control - 1e-6 * direction)) / 2e-6
    assert relative((gradient * direction).sum(1), slope) < 1e-7
    assert torch.equal(value, total(terms))
    for name in ("background", "divergence"):
        orders = taylor_orders(lambda v, name=name: cost.terms(v)[name].sum(), control, direction)
        assert all(1.9 < order < 2.1 for order in orders)


def test_the_known_inverse_hessian_is_exact_where_everything_is_diagonal() -> None:
    """Observed at the first time only, without correlations: the Hessian of J in the control is 1 + σ_b² / σ_o²."""
    deviation = 0.5 + random((3, 1, SIZE), 29).abs()
    std = 0.3 + random((3, 1, SIZE), 30).abs()
    observation = Observation(0.0, Component("x"), random((3, 1, SIZE), 31), std)
    problem = linear((observation,), 3, background_error={"x": Diagonal(deviation)})
    assert Cost(problem).inverse_hessian() is None
    cost = Cost(replace(problem, curvature={"x": 1 / std**2}))
    hessian = torch.autograd.functional.hessian(
        lambda v: cost.value(v[None].expand(3, -1))[0], torch.zeros(SIZE).double()
    )
    found = cost.inverse_hessian()
    assert found is not None
    assert relative(torch.diag(1 / found[0]), hessian) < 1e-12
    assert relative(found, (1 / (1 + deviation**2 / std**2)).flatten(1)) < 1e-12
    some = Cost(replace(problem, curvature={"x": 1 / std**2}).select(torch.tensor([2, 0])))
    assert some.problem.curvature["x"].shape == (2, 1, SIZE)


def test_gradients_are_finite_at_rest_and_over_missing_values() -> None:
    seen = smooth((2, 1, 8, 9), 32)
    seen[0, 0, 2:4, 3:6] = torch.nan
    seen[1] = torch.nan
    for sampler in ("bilinear", "cubic", "monotone"):
        problem = Problem(
            Grid((8, 9), (1.0, 2.0)),
            Advection(sampler=sampler),
            (1.0, 1.0),
            {"velocity": torch.zeros(2, 2, 8, 9, dtype=torch.float64), "tracer": smooth((2, 1, 8, 9), 33)},
            {"velocity": Tikhonov(gradient=1.0, mean_std=1.0)},
            (Observation(2.0, Component("tracer"), seen, torch.tensor(0.1).double(), 2.0),),
        )
        value, gradient = Cost(problem).gradient(Cost(problem).zero())
        assert value.isfinite().all()
        assert gradient.isfinite().all()
        assert (gradient[0] != 0).any()
        assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))


def test_steps_that_meet_the_frames() -> None:
    assert frame_steps((0.0, 300.0, 900.0)) == (300.0, 600.0)
    assert frame_steps((0.0, 300.0, 900.0), 300.0) == (300.0,) * 3
    assert frame_steps((0.0, 300.0, 900.0), 250.0) == (150.0, 150.0, 200.0, 200.0, 200.0)
    assert frame_steps((0.0, -300.0, -400.0), 150.0) == (-150.0, -150.0, -100.0)
    assert frame_steps((0.0,)) == ()
    for longest in (7.0, 100.0, 299.0, 301.0, 1e9):
        steps = frame_steps((0.0, 300.0, 1000.0), longest)
        assert max(steps) <= longest * (1 + 1e-12)
        assert sum(steps) == pytest.approx(1000)


def test_a_model_of_any_make_is_used_as_it_is() -> None:
    def double(state: State, seconds: float) -> State:
        return {"x": 2 * state["x"]}

    bound = Diagonal(2.0).bind(Grid((SIZE,), (1.0,)), dtype=torch.float64)
    problem = replace(linear((observed(0.1),), steps=(0.1,)), dynamics=double, background_error={"x": bound})
    control = random((2, SIZE), 34)
    expected = half_square((2 * (problem.background["x"] + 2 * control[:, None]) - observed(0.1).values) / 0.5)
    assert relative(Cost(problem).terms(control)["observation"], expected) < 1e-13
