"""Errors of an analysis: exact for linear models and Gaussian errors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.core.linear import Dense, LinearModel, smoother
from tests.core.minimize.problems import motion_problem, noise
from tests.core.numerics import relative
from tests.core.test_linear_gaussian import CONVERGED, MEAN, RATES, STEPS, B, Q, every_step, operator, problem, values
from tests.core.test_linear_gaussian import noise as std_of
from xvar.core.cost import Cost
from xvar.core.covariance import Tikhonov
from xvar.core.linearisation import Linearisation
from xvar.core.posterior import Normals, Posterior, Sampling, standard_errors
from xvar.core.problem import ForcedSteps, Problem
from xvar.core.solve import solve

SEEN = (0, 2, 3, 5)
EXACT = Sampling(tolerance=1e-11, iterations=500)


class Basis(Normals):
    """In place of random numbers: window k gets the k-th basis vector of all numbers that a draw takes, in turn."""

    def __init__(self, size: int) -> None:
        self.rest = torch.eye(size, dtype=torch.float64)

    def __call__(self, *shape: int) -> Tensor:
        taken, self.rest = self.rest.split(
            [torch.Size(shape).numel(), self.rest.shape[1] - torch.Size(shape).numel()], 1
        )
        return taken.reshape(-1, *shape)


def linear(*, weak: bool, windows: int) -> Problem:
    settings: dict[str, Any] = {"model_error": ForcedSteps({"x": Dense(Q)}, every_step())} if weak else {}
    return problem(torch.float64, SEEN, **settings).select(torch.zeros(windows, dtype=torch.int64))


def expected(*, weak: bool) -> list[Tensor]:
    _, covariances = smoother(
        MEAN,
        B,
        [LinearModel(RATES).matrix(step) for step in STEPS],
        [step * Q * (1.0 if weak else 1e-14) for step in STEPS],
        [(operator(k), torch.diag(std_of(k) ** 2), values(k)) if k in SEEN else None for k in range(len(STEPS) + 1)],
    )
    return covariances


@pytest.mark.parametrize("weak", [False, True], ids=["strong", "weak"])
def test_the_covariance_is_that_of_the_smoother_at_all_times(weak: bool) -> None:
    size = Cost(linear(weak=weak, windows=1)).space.size + len(SEEN) * 4
    cost = Cost(linear(weak=weak, windows=size))
    basis = Basis(size)
    drawn = Posterior(cost, cost.zero(), EXACT).draw(basis, None)
    assert basis.rest.shape[1] == 0
    moved, analysis = cost.trajectory(drawn), cost.trajectory(cost.zero())
    for found, mean, exact in zip(moved, analysis, expected(weak=weak), strict=True):
        departure = (found["x"] - mean["x"])[:, 0]
        assert relative(departure.T @ departure, exact) < 1e-6


@pytest.mark.parametrize("weak", [False, pytest.param(True, marks=pytest.mark.long)], ids=["strong", "weak"])
def test_the_variance_of_the_mean_of_random_members(weak: bool) -> None:
    sampling = replace(EXACT, solves=200, keep=True)
    analysis = solve(linear(weak=weak, windows=1), CONVERGED)

    def means(control: Tensor) -> dict[str, Tensor]:
        return {str(k): state["x"].mean(-1) for k, state in enumerate(analysis.cost.trajectory(control))}

    about = means(analysis.minimum.control)
    controls = Posterior(analysis.cost, analysis.minimum.control, sampling).members(torch.tensor([7]))
    found = standard_errors(about, map(means, controls), sampling)
    for index, covariance in enumerate(expected(weak=weak)):
        exact = float(covariance.mean())
        assert abs(float(found[f"{index}_std"]) ** 2 - exact) < 3 * (2 / sampling.solves) ** 0.5 * exact
        assert found[f"{index}_samples"].shape == (1, 2 * sampling.solves, 1)
        torch.testing.assert_close(found[f"{index}_samples"].mean(1), about[str(index)])


def test_tangent_and_adjoint_are_transposed_and_their_product_is_the_hessian() -> None:
    cost = Cost(motion_problem())
    control, direction, other = (noise(2, cost.space.size, seed=seed) for seed in (1, 2, 3))
    exact = Linearisation(cost, control, exact=True)
    tangents = exact.tangent(direction)
    duals = [noise(*one.shape, seed=4 + index) for index, one in enumerate(tangents)]
    left = sum((a * b).flatten(1).sum(1) for a, b in zip(tangents, duals, strict=True))
    torch.testing.assert_close(left, (direction * exact.adjoint(duals)).sum(1), rtol=1e-10, atol=1e-10)
    left, right = (other * exact.product(direction)).sum(1), (exact.product(other) * direction).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


def test_a_window_has_the_same_bits_alone_and_in_a_batch() -> None:
    whole = motion_problem()
    seeds = torch.tensor([11, 12])
    drawn = [_draw(whole, seeds), *(_draw(whole.select(torch.tensor([k])), seeds[[k]]) for k in range(2))]
    assert torch.equal(drawn[0], torch.cat(drawn[1:]))


def test_the_amplitude_is_that_of_the_control_over_its_degrees_of_freedom() -> None:
    """Of a robust norm: a² tr HK = |v|², with HK = I - A^-1 from the dense Hessian A."""
    errors = {"velocity": Tikhonov(1e4, 1e10, mean_std=10.0)}  # a penalty on the divergence would be no part of z
    cost = Cost(replace(motion_problem(), background_error=errors))
    control = noise(2, cost.space.size, seed=1)
    exact = Linearisation(cost, control, exact=True)
    basis = torch.eye(cost.space.size, dtype=control.dtype)
    hessian = torch.stack([exact.product(one.expand(2, -1)) for one in basis], dim=1)
    signal = (basis - torch.linalg.inv(hessian)).diagonal(dim1=1, dim2=2).sum(1)
    posterior = Posterior(cost, control, EXACT)
    found = torch.stack([posterior.amplitude(Normals(torch.tensor([k, k + 50]), control)) for k in range(20)])
    assert posterior.signals == []
    expected = control.square().sum(1, keepdim=True) / signal[:, None]
    torch.testing.assert_close((1 / found.square()).mean(0), 1 / expected, rtol=0.1, atol=0)


def _draw(problem: Problem, seeds: Tensor) -> Tensor:
    cost = Cost(problem)
    normals = Normals(seeds, cost.zero())
    return Posterior(cost, cost.zero(), Sampling()).draw(normals, normals.field(problem.grid.shape))


def test_the_field_has_unit_variance_and_the_length_of_its_gaussian() -> None:
    field = Normals(torch.arange(200), torch.zeros(1, dtype=torch.float64)).field((64, 48))
    assert float(field.square().mean()) == pytest.approx(1.0, rel=0.05)
    inner = field[..., 16:48, 12:36]
    correlation = (inner[..., 4:] * inner[..., :-4]).mean() / inner.square().mean()
    assert float(correlation) == pytest.approx(math.exp(-0.25), abs=0.05)
