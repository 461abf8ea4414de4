from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.core.minimize.problems import linear_problem, motion_problem, noise, smooth_problem
from xvar.core.cost import Cost
from xvar.core.covariance import Matern
from xvar.core.linearisation import Linearisation
from xvar.core.problem import Problem
from xvar.core.solve import CostOfBatch


@pytest.mark.parametrize("problem", [linear_problem(), motion_problem()], ids=["quadratic", "robust"])
def test_the_product_is_symmetric_and_at_least_the_prior(problem: Problem) -> None:
    cost = Cost(problem)
    control = noise(problem.windows, cost.space.size, seed=11)
    quadratic = Linearisation(cost, control)
    a, b = (noise(problem.windows, cost.space.size, seed=seed) for seed in (12, 13))
    left, right = (a * quadratic.product(b)).sum(1), (quadratic.product(a) * b).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)
    assert ((a * quadratic.product(a)).sum(1) >= (a * a).sum(1)).all()


def test_the_product_is_the_hessian_of_a_quadratic_cost() -> None:
    cost = Cost(linear_problem())
    control, direction = noise(3, cost.space.size, seed=1), noise(3, cost.space.size, seed=2)
    difference = cost.gradient(control + direction)[1] - cost.gradient(control)[1]
    torch.testing.assert_close(Linearisation(cost, control).product(direction), difference, rtol=1e-9, atol=1e-9)


def test_the_product_has_the_hessian_of_the_penalties() -> None:
    """Of a motion that nothing observes J is quadratic: its prior and its divergence, of a tracer the prior alone."""
    problem = motion_problem()
    errors = {**problem.background_error, "tracer": Matern(1.0, 3000.0)}
    problem = replace(problem, observations=(), background_error=errors)
    cost = Cost(problem)
    control, direction = noise(2, cost.space.size, seed=1), noise(2, cost.space.size, seed=2)
    difference = cost.gradient(control + direction)[1] - cost.gradient(control)[1]
    found = Linearisation(cost, control).product(direction)
    torch.testing.assert_close(found, difference, rtol=1e-9, atol=1e-9)
    assert float((found - direction).abs().max()) > 0.1  # there is a penalty


def test_a_coarse_product_is_symmetric_and_its_maps_are_adjoint() -> None:
    """And near that of the fine grid for the long waves, which both hold."""
    problem = smooth_problem()
    fine, of_batch = Cost(problem), CostOfBatch(problem)
    control = 0.1 * noise(2, fine.space.size, seed=1)
    quadratic = of_batch.linearise(control, torch.arange(2), 2)
    coarse = Cost(problem.with_coarse_model(2))
    a, b = (noise(2, coarse.space.size, seed=seed) for seed in (2, 3))
    gradient = noise(2, fine.space.size, seed=4)
    left, right = (quadratic.prolong(a) * gradient).sum(1), (a * quadratic.restrict(gradient)).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)
    left, right = (a * quadratic.product(b)).sum(1), (quadratic.product(a) * b).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-8)
    long = torch.zeros_like(a)
    for block in coarse.space.blocks:
        part = long[:, block.begin : block.end].view(2, *block.shape)
        part[..., :3, :3] = noise(2, *block.shape[:-2], 3, 3, seed=5)
    exact = Linearisation(fine, control)
    wave = quadratic.prolong(long)
    found, expected = (long * quadratic.product(long)).sum(1), (wave * exact.product(wave)).sum(1)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0)
