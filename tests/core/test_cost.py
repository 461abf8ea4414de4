from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.core.linear import Dense, LinearModel, covariance_matrix
from tests.core.models.lorenz96 import Lorenz96
from tests.core.numerics import random, relative, smooth, taylor_orders
from tests.core.problems import ENDS, RATES, SIZE, STEPS, half_square, linear, observed
from xvar.core.cost import Cost, total
from xvar.core.covariance import Diagonal, Tikhonov
from xvar.core.dynamics import State, trajectory
from xvar.core.grid import Grid
from xvar.core.models.advection import Advection
from xvar.core.norm import PseudoHuber
from xvar.core.observation import Component, Observation
from xvar.core.problem import ForcedSteps, Problem


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("sign", [1, -1])
def test_observations_between_the_steps(interpolation: str, sign: int) -> None:
    """Shares of the way of a quarter and of three quarters, of each step; the first falls nearest to the control."""
    steps = tuple(sign * step for step in STEPS)
    control = random((2, SIZE), 5)
    for index, step in enumerate(STEPS):
        for share in (0.25, 0.75):
            observation = observed(sign * (ENDS[index] + share * step), time_interpolation=interpolation)
            cost = Cost(linear((observation,), steps=steps))
            states = trajectory(LinearModel(RATES), cost.space.initial_state(cost.space.fields(control)), steps)
            weight = share if interpolation == "linear" else float(share > 0.5)
            state = (1 - weight) * states[index]["x"] + weight * states[index + 1]["x"]
            expected = half_square((state - observation.values) / 0.5)
            assert relative(cost.terms(control)["observation"], expected) < 1e-13


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_the_gradient_by_differences_with_observations_between_the_steps(interpolation: str) -> None:
    several = tuple(
        observed(time, 35 + index, time_interpolation=interpolation)
        for index, time in enumerate((0.04, 0.2, 0.55, 0.7))
    )
    weak = ForcedSteps({"x": Dense(covariance_matrix(SIZE, 7))}, ((0,), (1, 2, 3)))
    cost = Cost(linear(several, model_error=weak))
    control, direction = random(cost.zero().shape, 39), random(cost.zero().shape, 40)
    _, gradient = cost.gradient(control)
    slope = (cost.value(control + 1e-5 * direction) - cost.value(control - 1e-5 * direction)) / 2e-5
    assert relative((gradient * direction).sum(1), slope) < 1e-8


def test_observations_at_the_ends_of_steps_are_neither_interpolated_nor_moved() -> None:
    for slip in (0.0, 1e-9, -1e-9):
        for index, end in enumerate(ENDS):
            for interpolation in ("linear", "nearest"):
                observation = observed(end + slip, time_interpolation=interpolation)
                cost = Cost(linear((observation,)))
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


def test_terms_by_hand() -> None:
    """J = ½ δxᵀ B⁻¹ δx + ½ Σ ηᵀ Q⁻¹ η + J_o, each named."""
    weak = ForcedSteps({"x": Dense(covariance_matrix(SIZE, 7))}, ((0,), (1, 2), (3,)))
    observation = observed(0.75)
    cost = Cost(linear((observation,), model_error=weak))
    control = random(cost.zero().shape, 8)
    terms = cost.terms(control)
    assert list(terms) == ["background", "model_error", "observation"]
    increment = cost.space.increment(cost.space.fields(control))["x"][:, 0]
    inverse = torch.linalg.inv(covariance_matrix(SIZE, 3))
    assert relative(terms["background"], 0.5 * ((increment @ inverse) * increment).sum(1)) < 1e-12
    forcing = cost.space.forcing(cost.space.fields(control))
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
    background = half_square((cost.space.initial_state(cost.space.fields(control))["x"] - seen) / 0.5)
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
    expected = prior.penalties(grid)["divergence"](cost.space.increment(cost.space.fields(control))["velocity"])
    assert torch.equal(terms["divergence"], expected)
    direction = random(control.shape, 28)
    value, gradient = cost.gradient(control)
    slope = (cost.value(control + 1e-6 * direction) - cost.value(control - 1e-6 * direction)) / 2e-6
    assert relative((gradient * direction).sum(1), slope) < 1e-7
    assert torch.equal(value, total(terms))
    for name in ("background", "divergence"):
        orders = taylor_orders(lambda v, name=name: cost.terms(v)[name].sum(), control, direction)
        assert all(1.9 < order < 2.1 for order in orders)


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
            (Observation(2.0, Component("tracer"), seen, torch.tensor(0.1).double(), PseudoHuber(2.0)),),
        )
        value, gradient = Cost(problem).gradient(Cost(problem).zero())
        assert value.isfinite().all()
        assert gradient.isfinite().all()
        assert (gradient[0] != 0).any()
        assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))


def test_a_model_of_any_make_is_used_as_it_is() -> None:
    def double(state: State, seconds: float) -> State:
        return {"x": 2 * state["x"]}

    bound = Diagonal(2.0).bind(Grid((SIZE,), (1.0,)), dtype=torch.float64)
    problem = replace(linear((observed(0.1),), steps=(0.1,)), dynamics=double, background_error={"x": bound})
    control = random((2, SIZE), 34)
    expected = half_square((2 * (problem.background["x"] + 2 * control[:, None]) - observed(0.1).values) / 0.5)
    assert relative(Cost(problem).terms(control)["observation"], expected) < 1e-13


def test_residuals_are_those_of_the_terms() -> None:
    """Half their squares are the terms of J, with model error and with observations between the steps."""
    weak = ForcedSteps({"x": Dense(covariance_matrix(SIZE, 7))}, ((0,), (1, 2, 3)))
    several = tuple(observed(time, 50 + index) for index, time in enumerate((0.0, 0.2, 0.4, 0.7)))
    cost = Cost(linear(several, model_error=weak))
    control = random(cost.zero().shape, 51)
    found = cost.residuals(cost.space.fields(control))
    # One by one as the model passes them.
    assert [observation for observation, _ in found] == list(several)
    assert relative(sum(half_square(residual) for _, residual in found), cost.terms(control)["observation"]) < 1e-13
