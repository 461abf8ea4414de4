"""Ritz pairs of inner loops: exact against dense eigenvalues, and fewer products for the same minimum."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.core.minimize.problems import linear_problem, motion_problem, smooth_problem
from tests.core.numerics import random
from tests.faults.codes import codes
from xvar.core.cost import Cost
from xvar.core.minimize import GaussNewton
from xvar.core.minimize.ritz import RitzPair, RitzPreconditioner
from xvar.core.problem import Problem
from xvar.core.solve import CostOfBatch
from xvar.errors import InputError

SIZE = 30


def matrices(windows: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Symmetric matrices (window, n, n) with eigenvalues 1 to 2, and eight large ones."""
    vectors = torch.linalg.qr(random((windows, SIZE, SIZE), 3)).Q
    values = torch.cat([torch.linspace(1, 2, SIZE - 8), 10.0 ** torch.linspace(1, 4, 8)]).double()
    return ((vectors * values) @ vectors.mT).to(dtype)


def times(matrix: Tensor) -> object:
    return lambda control: (matrix * control[:, None]).sum(2)


def whitened(known: RitzPreconditioner, matrix: Tensor) -> Tensor:
    """Return the matrix L^T A L of each window."""
    unit = torch.eye(SIZE, dtype=torch.float64)
    columns = [known.transpose(times(matrix)(known.apply(row.expand(len(matrix), -1)))) for row in unit]
    return torch.stack(columns, dim=2)


@pytest.mark.parametrize("diagonal", [1.0, 0.3])
def test_large_eigenvalues_become_one_and_the_others_stay(diagonal: float) -> None:
    matrix, right = matrices(2), random((2, SIZE), 1)
    start = RitzPreconditioner(torch.full((2, 1), diagonal, dtype=torch.float64))
    loop = start.solve(times(matrix), right, 1e-26, SIZE)
    torch.testing.assert_close(loop.solution, torch.linalg.solve(matrix, right), rtol=1e-9, atol=1e-10)
    known = start.with_pairs(loop, 8, torch.arange(2))
    assert len(known.pairs) == 8
    before = torch.linalg.eigvalsh(diagonal * matrix)
    expected = torch.cat([before[:, : SIZE - 8], torch.ones(2, 8, dtype=torch.float64)], dim=1).sort(dim=1).values
    torch.testing.assert_close(torch.linalg.eigvalsh(whitened(known, matrix)), expected, rtol=1e-8, atol=1e-8)


def test_the_next_inner_loop_needs_few_products() -> None:
    matrix, start = matrices(2), RitzPreconditioner(torch.ones(2, 1, dtype=torch.float64))
    loop = start.solve(times(matrix), random((2, SIZE), 1), 1e-20, SIZE)
    known = start.with_pairs(loop, 8, torch.arange(2))
    right = random((2, SIZE), 2)
    plain, fast = (one.solve(times(matrix), right, 1e-20, SIZE) for one in (start, known))
    torch.testing.assert_close(fast.solution, plain.solution, rtol=1e-6, atol=1e-8)
    assert (fast.products <= plain.products - 8).all()


def test_pairs_of_several_loops_are_applied_one_after_the_other() -> None:
    """Each loop adds three of the eight large eigenvalues; the root has its exact transpose."""
    matrix = matrices(2)
    known = RitzPreconditioner(random((2, SIZE), 6).square() + 0.5)
    largest = [float(torch.linalg.eigvalsh(whitened(known, matrix)).max())]
    for seed in range(3):
        loop = known.solve(times(matrix), random((2, SIZE), seed), 1e-26, SIZE)
        known = known.with_pairs(loop, 3, torch.arange(2))
        largest.append(float(torch.linalg.eigvalsh(whitened(known, matrix)).max()))
    assert largest[0] > largest[1] > largest[2] > largest[3]
    assert largest[3] < 6
    a, b = random((2, SIZE), 8), random((2, SIZE), 9)
    torch.testing.assert_close((known.apply(a) * b).sum(), (a * known.transpose(b)).sum(), rtol=1e-12, atol=0)


def test_an_inexact_pair_still_gives_a_positive_preconditioner() -> None:
    vector = torch.nn.functional.normalize(random((2, SIZE), 5), dim=1)
    known = RitzPreconditioner(
        torch.ones(2, 1, dtype=torch.float64), (RitzPair(vector, torch.full((2, 1), 0.1, dtype=torch.float64)),)
    )
    matrix, right = matrices(2), random((2, SIZE), 1)
    assert float(torch.linalg.eigvalsh(whitened(known, matrix)).min()) > 0
    solution = known.solve(times(matrix), right, 1e-26, 2 * SIZE).solution
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, right), rtol=1e-8, atol=1e-9)


def ill_conditioned(windows: int = 3) -> Problem:
    """Values observed a hundred times more exactly than the background: eigenvalues from one to some ten thousand."""
    problem = linear_problem(windows)
    precise = torch.tensor(0.01, dtype=torch.float64)
    return replace(problem, observations=tuple(replace(one, std=precise) for one in problem.observations))


def test_the_same_minimum_with_fewer_products() -> None:
    cost = CostOfBatch(ill_conditioned())
    settings = {"outer": 12, "inner": 60, "gtol": 1e-9, "ftol": 0.0}
    plain, fast = (
        GaussNewton(**settings, **more)(cost, cost.whole.zero()) for more in ({}, {"preconditioner": "ritz"})
    )
    torch.testing.assert_close(fast.cost, plain.cost, rtol=1e-12, atol=0)
    torch.testing.assert_close(fast.control, plain.control, rtol=0, atol=1e-4)
    assert (fast.evaluations < 0.7 * plain.evaluations).all()


@pytest.mark.long
def test_nonlinear_problems_and_coarse_grids_end_at_the_same_minimum() -> None:
    tight = {"inner": 60, "gtol": 1e-8, "ftol": 0.0, "outer": 14}
    cost = CostOfBatch(smooth_problem())
    plain = GaussNewton(**tight)(cost, cost.whole.zero())
    for resolution in ((1,), (4, 2, 2, 1)):
        fast = GaussNewton(**tight, resolution=resolution, preconditioner="ritz")(cost, cost.whole.zero())
        torch.testing.assert_close(fast.cost, plain.cost, rtol=1e-8, atol=0)
        torch.testing.assert_close(fast.control, plain.control, rtol=0, atol=1e-4)


def test_a_window_alone_has_the_same_bits() -> None:
    problem = motion_problem(3)
    settings = GaussNewton(outer=4, inner=12, preconditioner="ritz", vectors=5)
    together = settings(CostOfBatch(problem), Cost(problem).zero())
    for window in range(3):
        part = problem.select(torch.tensor([window]))
        alone = settings(CostOfBatch(part), Cost(part).zero())
        assert torch.equal(alone.control[0], together.control[window])
        assert int(alone.evaluations) == int(together.evaluations[window])


@pytest.mark.parametrize(
    ("options", "code"), [({"preconditioner": "hessian"}, "unknown-choice"), ({"vectors": 0}, "vectors")]
)
def test_faults(options: dict[str, object], code: str) -> None:
    with pytest.raises(InputError) as report:
        GaussNewton(**options)
    assert codes(report.value) == [code]
