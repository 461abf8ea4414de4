"""Gauss-Newton: exact on quadratic problems in one loop, the minimum of L-BFGS, and independent windows."""

from __future__ import annotations

import pytest
import torch

from tests.core.minimize.problems import linear_problem, motion_problem, smooth_problem
from tests.faults.codes import codes
from xvar.core.cost import Cost
from xvar.core.minimize import LBFGS, GaussNewton, Reason
from xvar.core.solve import CostOfBatch
from xvar.errors import InputError


def test_one_loop_solves_a_quadratic_problem_as_lbfgs_does() -> None:
    cost = CostOfBatch(linear_problem())
    start = cost.whole.zero()
    newton = GaussNewton(outer=2, inner=400, residual=1e-13, gtol=1e-10)(cost, start)
    quasi = LBFGS(max_evaluations=2000, gtol=1e-12, ftol=0.0, history_size=50)(cost, start)
    torch.testing.assert_close(newton.cost, quasi.cost, rtol=1e-10, atol=0)
    distance = (newton.control - quasi.control).norm(dim=1) / quasi.control.norm(dim=1)
    assert distance.max() < 1e-6
    assert (newton.reason == Reason.GRADIENT).all()


def test_the_cost_never_grows_and_ends_where_lbfgs_does() -> None:
    cost = CostOfBatch(motion_problem())
    start = cost.whole.zero()
    newton = GaussNewton(outer=40, inner=30)(cost, start)
    history = torch.stack(newton.history)
    assert (history.diff(dim=0) <= 0).all()
    assert newton.cost.lt(history[0]).all()
    torch.testing.assert_close(cost(newton.control, torch.arange(2))[0], newton.cost)


def test_a_window_alone_has_the_same_bits() -> None:
    problem = motion_problem(3)
    together = GaussNewton(outer=4, inner=6)(CostOfBatch(problem), Cost(problem).zero())
    for window in range(3):
        part = problem.select(torch.tensor([window]))
        alone = GaussNewton(outer=4, inner=6)(CostOfBatch(part), Cost(part).zero())
        assert torch.equal(alone.control[0], together.control[window])


def test_a_window_without_a_value_diverges_alone() -> None:
    problem = motion_problem(3)
    problem.background["velocity"][1] = torch.inf
    minimum = GaussNewton(outer=3, inner=5)(CostOfBatch(problem), Cost(problem).zero())
    assert minimum.reason[1] == Reason.DIVERGED
    assert minimum.cost[[0, 2]].isfinite().all()
    assert (minimum.control[1] == 0).all()


@pytest.mark.long
def test_coarse_inner_loops_end_at_the_minimum_of_the_full_grid() -> None:
    problem = smooth_problem()
    zero = Cost(problem).zero()
    tight = {"inner": 60, "gtol": 1e-8, "ftol": 0.0}
    full = GaussNewton(outer=12, **tight)(CostOfBatch(problem), zero)
    several = GaussNewton(outer=14, resolution=(4, 2, 2, 1), **tight)(CostOfBatch(problem), zero)
    torch.testing.assert_close(several.cost, full.cost, rtol=1e-8, atol=0)
    torch.testing.assert_close(several.control, full.control, rtol=0, atol=1e-4)


def test_coarse_inner_loops_alone_come_near_on_smooth_fields() -> None:
    problem = smooth_problem()
    cost = Cost(problem)
    full = GaussNewton(outer=12)(CostOfBatch(problem), cost.zero())
    coarse = GaussNewton(outer=12, resolution=(2,))(CostOfBatch(problem), cost.zero())
    first = cost.value(cost.zero())
    assert bool(((coarse.cost - full.cost) < 0.02 * (first - full.cost)).all())
    found, expected = (cost.space.fields(minimum.control)[0] for minimum in (coarse, full))
    assert float((found - expected).norm() / expected.norm()) < 0.1


@pytest.mark.parametrize("resolution", [(), (0,), (2, 1.5)])
def test_block_sides_are_whole_numbers_from_one_up(resolution: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as report:
        GaussNewton(resolution=resolution)
    assert codes(report.value) == ["resolution"]
