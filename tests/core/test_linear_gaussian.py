"""Linear models with Gaussian errors: everything is known exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.linear import Dense, LinearModel, Seen, blue, covariance_matrix, smoother
from tests.core.numerics import order, random, relative
from xvar.core.cost import Cost
from xvar.core.covariance import Diagonal
from xvar.core.grid import Grid
from xvar.core.minimize import LBFGS
from xvar.core.observation import Observation
from xvar.core.problem import ForcedSteps, Problem
from xvar.core.solve import Analysis, solve

SIZE, WINDOWS, SEEN = 6, 3, 4
RATES = 0.8 * random((SIZE, SIZE), 1) - 0.3 * torch.eye(SIZE, dtype=torch.float64)
STEPS = (0.2, 0.3, 0.1, 0.25, 0.15)
B = covariance_matrix(SIZE, 2)
Q = covariance_matrix(SIZE, 3, 0.5)  # per unit of time
STD = 0.5
MEAN = random((WINDOWS, SIZE), 4)
CONVERGED = LBFGS(max_evaluations=3000, gtol=1e-13, ftol=0, history_size=20)
WITHIN = {torch.float64: 1e-6, torch.float32: 1e-3}
BOTH = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
EYE = torch.eye(SIZE, dtype=torch.float64)


def operator(index: int) -> Tensor:
    return random((SEEN, SIZE), 100 + index)


def noise(index: int) -> Tensor:
    """Standard deviations of the errors at one time, all different."""
    return STD * random((SEEN,), 300 + index).mul(0.5).exp()


def values(index: int) -> Tensor:
    """Observations of a truth drawn from the prior, with model error."""
    truth = MEAN + random((WINDOWS, SIZE), 5) @ torch.linalg.cholesky(B).T
    now = truth @ LinearModel(RATES).matrix(sum(STEPS[:index])).T + 0.2 * random((WINDOWS, SIZE), 600 + index)
    return now @ operator(index).T + noise(index) * random((WINDOWS, SEEN), 200 + index)


def problem(dtype: torch.dtype, seen: tuple[int, ...], **settings: Any) -> Problem:
    """Observations at some states, 0 the first."""
    steps = settings.get("steps", STEPS)
    found = {"steps": steps, "background_error": {"x": Dense(B)}, **settings}
    times = [sum(steps[:index]) for index in range(len(steps) + 1)]
    observations = tuple(
        Observation(
            time=times[index],
            operator=Seen(operator(index)),
            values=values(index)[:, None].to(dtype),
            std=noise(index).to(dtype),
        )
        for index in seen
    )
    return Problem(
        grid=Grid((SIZE,), (1.0,)),
        dynamics=LinearModel(RATES),
        background={"x": MEAN[:, None].to(dtype)},
        observations=observations,
        **found,
    )


def states(analysis: Analysis) -> Tensor:
    return torch.stack([state["x"][:, 0].double() for state in analysis.trajectory])


def propagators(steps: tuple[float, ...] = STEPS) -> list[Tensor]:
    """From the first time to each."""
    found = [EYE]
    for step in steps:
        found.append(LinearModel(RATES).matrix(step) @ found[-1])
    return found


def every_step() -> tuple[tuple[int, ...], ...]:
    return tuple((index,) for index in range(len(STEPS)))


@BOTH
def test_strong_constraint_is_the_best_linear_unbiased_estimate(dtype: torch.dtype) -> None:
    seen = (0, 2, 3, 5)
    analysis = solve(problem(dtype, seen), CONVERGED)
    to = propagators()
    stacked = torch.cat([operator(index) @ to[index] for index in seen])
    variances = torch.cat([noise(index) ** 2 for index in seen])
    exact, _ = blue(MEAN, B, stacked, torch.diag(variances), torch.cat([values(index) for index in seen], dim=1))
    whitened = torch.linalg.cholesky(B).T @ stacked.T / variances.sqrt()
    assert 10 < torch.linalg.cond(EYE + whitened @ whitened.T) < 1e4
    assert relative(states(analysis)[0], exact) < WITHIN[dtype]
    expected = torch.stack([exact @ matrix.T for matrix in to])
    assert relative(states(analysis), expected) < WITHIN[dtype]
    misfit = (torch.cat([values(index) for index in seen], dim=1) - exact @ stacked.T).square() / variances
    departure = exact - MEAN
    assert relative(analysis.cost_analysis["observation"], 0.5 * misfit.sum(1)) < WITHIN[dtype]
    assert (
        relative(analysis.cost_analysis["background"], 0.5 * ((departure @ torch.linalg.inv(B)) * departure).sum(1))
        < WITHIN[dtype]
    )
    assert relative(analysis.minimum.cost, sum(analysis.cost_analysis.values())) < WITHIN[dtype]


@BOTH
def test_weak_constraint_is_the_smoother_at_all_times(dtype: torch.dtype) -> None:
    """One forcing per transition, the first included; steps of different lengths; R block-diagonal in time."""
    seen = (0, 2, 3, 5)
    weak = ForcedSteps({"x": Dense(Q)}, every_step())
    analysis = solve(problem(dtype, seen, model_error=weak), CONVERGED)
    expected = torch.stack(
        smoother(
            MEAN,
            B,
            [LinearModel(RATES).matrix(step) for step in STEPS],
            [step * Q for step in STEPS],
            [(operator(k), torch.diag(noise(k) ** 2), values(k)) if k in seen else None for k in range(len(STEPS) + 1)],
        )[0]
    )
    for found, exact in zip(states(analysis), expected, strict=True):
        assert relative(found, exact) < WITHIN[dtype]
    assert set(analysis.forcing) == set(range(len(STEPS)))
    # the forcing of a step is what the trajectory does not owe to the model
    for index, step in enumerate(STEPS):
        moved = expected[index] @ LinearModel(RATES).matrix(step).T
        assert relative(analysis.forcing[index]["x"][:, 0], expected[index + 1] - moved) < 10 * WITHIN[dtype]


@BOTH
def test_a_forcing_held_over_an_interval_is_a_model_error_carried_to_its_end(dtype: torch.dtype) -> None:
    """Q_k = G Q Gᵀ, G what the interval's own steps make of the forcing."""
    intervals, ends = ((0, 1), (2, 3, 4)), (0, 2, 5)
    weak = ForcedSteps({"x": Dense(Q)}, intervals)
    analysis = solve(problem(dtype, ends, model_error=weak), CONVERGED)
    to = propagators()
    transitions, errors = [], []
    for steps in intervals:
        total = sum(STEPS[step] for step in steps)
        after = to[steps[-1] + 1]
        carried = sum(STEPS[step] / total * after @ torch.linalg.inv(to[step + 1]) for step in steps)
        errors.append(carried @ (total * Q) @ carried.T)
        transitions.append(after @ torch.linalg.inv(to[steps[0]]))
    expected, _ = smoother(
        MEAN, B, transitions, errors, [(operator(k), torch.diag(noise(k) ** 2), values(k)) for k in ends]
    )
    for end, exact in zip(ends, expected, strict=True):
        assert relative(states(analysis)[end], exact) < WITHIN[dtype]


@BOTH
def test_one_forcing_for_the_whole_window_is_a_bias_beside_the_state(dtype: torch.dtype) -> None:
    seen = (0, 2, 3, 5)
    weak = ForcedSteps({"x": Dense(Q)}, (tuple(range(len(STEPS))),))
    analysis = solve(problem(dtype, seen, model_error=weak), CONVERGED)
    total, to, bias = sum(STEPS), [EYE], [torch.zeros_like(EYE)]
    for step in STEPS:
        matrix = LinearModel(RATES).matrix(step)
        to.append(matrix @ to[-1])
        bias.append(matrix @ bias[-1] + step / total * EYE)
    both = [torch.cat((state, error), dim=1) for state, error in zip(to, bias, strict=True)]
    exact, _ = blue(
        torch.cat((MEAN, torch.zeros_like(MEAN)), dim=1),
        torch.block_diag(B, total * Q),
        torch.cat([operator(k) @ both[k] for k in seen]),
        torch.diag(torch.cat([noise(k) ** 2 for k in seen])),
        torch.cat([values(k) for k in seen], dim=1),
    )
    for found, matrix in zip(states(analysis), both, strict=True):
        assert relative(found, exact @ matrix.T) < WITHIN[dtype]


def test_overlapping_intervals_add_up() -> None:
    weak = ForcedSteps({"x": Dense(Q)}, ((0, 1, 2), (2, 3)))
    cost = Cost(problem(torch.float64, (0, 5), model_error=weak))
    control = random(cost.zero().shape, 5)
    forcing = cost.space.forcing(cost.space.fields(control))
    root, (first, second) = torch.linalg.cholesky(Q), control[:, SIZE:].split(SIZE, dim=1)
    lengths = [sum(STEPS[0:3]), sum(STEPS[2:4])]
    expected = (first @ root.T) * STEPS[2] / lengths[0] ** 0.5 + (second @ root.T) * STEPS[2] / lengths[1] ** 0.5
    assert relative(forcing[2]["x"][:, 0], expected) < 1e-13
    assert set(forcing) == {0, 1, 2, 3}


def test_the_model_error_vanishes_linearly_with_q() -> None:
    seen = (0, 2, 3, 5)
    strong = states(solve(problem(torch.float64, seen), CONVERGED))
    sizes, differences = [], []
    for power in range(-7, -2):
        weak = ForcedSteps({"x": Dense(Q * 10.0**power)}, every_step())
        found = states(solve(problem(torch.float64, seen, model_error=weak), CONVERGED))
        sizes.append(10.0**power)
        differences.append(relative(found, strong))
    assert order(sizes, differences) == pytest.approx(1, abs=0.02)
    for coarse, fine in zip(differences[1:], differences[:-1], strict=True):
        assert coarse / fine == pytest.approx(10, rel=0.1)
    assert differences[0] < 1e-6
    weak = ForcedSteps({"x": Diagonal(0.0)}, every_step())
    assert relative(states(solve(problem(torch.float64, seen, model_error=weak), CONVERGED)), strong) < 1e-8


def test_an_analysis_hardly_depends_on_the_steps_of_a_frame_at_one_q() -> None:
    found = []
    for parts in (2, 4, 8):
        steps = (0.15 / parts,) * (3 * parts)
        observations = tuple(
            Observation(0.15 * k, Seen(operator(k)), values(k)[:, None], torch.tensor(STD, dtype=torch.float64))
            for k in range(4)
        )
        weak = ForcedSteps({"x": Dense(Q)}, tuple((index,) for index in range(len(steps))))
        case = replace(problem(torch.float64, (), steps=steps, model_error=weak), observations=observations)
        strong = replace(case, model_error=None)
        found.append(states(solve(case, CONVERGED))[::parts])
        assert relative(found[-1], states(solve(strong, CONVERGED))[::parts]) > 0.05  # Q does matter
    assert relative(found[1], found[0]) < 0.02
    assert relative(found[2], found[1]) < 0.02


def test_directions_of_time() -> None:
    """The state at the end of the window, observed back in time."""
    steps = tuple(-step for step in STEPS)
    seen = (0, 2, 5)
    to = propagators(steps)
    analysis = solve(problem(torch.float64, seen, steps=steps), CONVERGED)
    exact, _ = blue(
        MEAN,
        B,
        torch.cat([operator(k) @ to[k] for k in seen]),
        torch.diag(torch.cat([noise(k) ** 2 for k in seen])),
        torch.cat([values(k) for k in seen], dim=1),
    )
    assert relative(states(analysis)[0], exact) < 1e-6


@pytest.mark.parametrize("weak", [False, True])
def test_statistics_of_the_minimum(weak: bool) -> None:
    """2 J_min is chi-square of p; E[2 J_b] = tr(HK), E[2 J_o] = p - tr(HK), J_q counted with J_b."""
    draws, seen = 200, (0, 1, 3, 5)
    count = SEEN * len(seen)
    truth = MEAN[:1] + random((draws, SIZE), 11) @ torch.linalg.cholesky(B).T
    to, observed = propagators(), {}
    for index in range(len(STEPS) + 1):
        if index in seen:
            observed[index] = truth @ operator(index).T + noise(index) * random((draws, SEEN), 400 + index)
        if index < len(STEPS):
            truth = truth @ LinearModel(RATES).matrix(STEPS[index]).T
            if weak:
                error = random((draws, SIZE), 500 + index) @ torch.linalg.cholesky(Q).T
                truth = truth + STEPS[index] ** 0.5 * error
    model_error = ForcedSteps({"x": Dense(Q)}, every_step()) if weak else None
    case = problem(torch.float64, seen, model_error=model_error)
    case = replace(
        case,
        background={"x": MEAN[:1, None].expand(draws, 1, SIZE).clone()},
        observations=tuple(
            replace(one, values=observed[k][:, None], valid=None)
            for one, k in zip(case.observations, seen, strict=True)
        ),
    )
    analysis = solve(case, LBFGS(max_evaluations=1000, gtol=1e-9, ftol=0, history_size=20))
    prior = 2 * (analysis.cost_analysis["background"] + analysis.cost_analysis.get("model_error", torch.zeros(draws)))
    misfit = 2 * analysis.cost_analysis["observation"]
    twice = prior + misfit

    spread = torch.zeros(count, count, dtype=torch.float64)  # of H x, the prior's
    sources = [(0, B)] + ([(k + 1, STEPS[k] * Q) for k in range(len(STEPS))] if weak else [])
    for begin, matrix in sources:
        carried = torch.cat(
            [
                operator(k) @ to[k] @ torch.linalg.inv(to[begin]) if k >= begin else torch.zeros(SEEN, SIZE).double()
                for k in seen
            ]
        )
        spread += carried @ matrix @ carried.T
    whole = spread + torch.diag(torch.cat([noise(k) ** 2 for k in seen]))
    share = torch.linalg.solve(whole, spread)  # similar to HK
    trace, squares = torch.trace(share), torch.trace(share @ share)

    def within(found: Tensor, mean: Tensor | float, variance: Tensor | float) -> bool:
        return bool((found.mean() - mean).abs() < 3 * (variance / draws) ** 0.5)

    assert within(twice, count, 2 * count)
    assert abs(twice.var() - 2 * count) < 3 * ((8 * count**2 + 48 * count) / draws) ** 0.5
    assert within(prior, trace, 2 * squares)
    assert within(misfit, count - trace, 2 * (count - 2 * trace + squares))
    assert 1 < trace < count - 1
