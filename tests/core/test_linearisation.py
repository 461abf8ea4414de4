from __future__ import annotations

import pytest
import torch

from tests.core.minimize.problems import linear_problem, motion_problem, noise
from xvar.core.cost import Cost
from xvar.core.linearisation import Linearisation
from xvar.core.problem import Problem


@pytest.mark.parametrize("problem", [linear_problem(), motion_problem()], ids=["quadratic", "robust"])
def test_the_product_is_symmetric_and_at_least_the_prior(problem: Problem) -> None:
    cost = Cost(problem)
    control = noise(problem.windows, cost.size, seed=11)
    quadratic = Linearisation(cost, control)
    a, b = (noise(problem.windows, cost.size, seed=seed) for seed in (12, 13))
    left, right = (a * quadratic.product(b)).sum(1), (quadratic.product(a) * b).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)
    assert ((a * quadratic.product(a)).sum(1) >= (a * a).sum(1)).all()


def test_the_product_is_the_hessian_of_a_quadratic_cost() -> None:
    cost = Cost(linear_problem())
    control, direction = noise(3, cost.size, seed=1), noise(3, cost.size, seed=2)
    difference = cost.gradient(control + direction)[1] - cost.gradient(control)[1]
    torch.testing.assert_close(Linearisation(cost, control).product(direction), difference, rtol=1e-9, atol=1e-9)
