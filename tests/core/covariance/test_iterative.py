"""Conjugate gradients, each window for itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.core.numerics import random, relative
from xvar.core.covariance.iterative import conjugate_gradients

SIZE = 12


def systems(windows: int) -> Tensor:
    """Symmetric positive matrices (window, row, column), the further the worse conditioned."""
    root = random((windows, SIZE, SIZE), 0)
    spread = torch.logspace(0, 1, windows, dtype=torch.float64).reshape(-1, 1, 1)
    return torch.eye(SIZE, dtype=torch.float64) + spread * root @ root.mT


def of(matrices: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: (matrices @ x[..., None])[..., 0]


def halved(x: Tensor) -> Tensor:
    return x / 2


def test_the_solution_is_that_of_a_direct_solver() -> None:
    matrices, right = systems(3), random((3, SIZE), 1)
    expected = torch.linalg.solve(matrices, right[..., None])[..., 0]
    diagonal = matrices.diagonal(dim1=1, dim2=2)
    for preconditioner in (halved, lambda x: x / diagonal, of(torch.linalg.inv(matrices))):
        assert relative(conjugate_gradients(of(matrices), right, preconditioner), expected) < 1e-11


def test_as_many_steps_as_there_are_unknowns() -> None:
    matrices, right = systems(1)[:1], random((1, SIZE), 1)
    counted = []

    def operator(x: Tensor) -> Tensor:
        counted.append(1)
        return of(matrices)(x)

    conjugate_gradients(operator, right, halved)
    assert len(counted) <= SIZE + 3
    counted.clear()
    conjugate_gradients(operator, right, of(torch.linalg.inv(matrices)))
    assert len(counted) <= 3


def test_nothing_is_answered_by_nothing() -> None:
    right = random((3, SIZE), 1)
    right[1] = 0
    found = conjugate_gradients(of(systems(3)), right, halved)
    assert not found[1].any()
    assert found.isfinite().all()
    assert not conjugate_gradients(of(systems(3)), torch.zeros_like(right), halved).any()


def test_a_window_has_the_same_bits_alone() -> None:
    matrices, right = systems(4), random((4, SIZE), 1)
    together = conjugate_gradients(of(matrices), right, halved)
    for k in range(4):
        alone = conjugate_gradients(of(matrices[k : k + 1]), right[k : k + 1], halved)
        assert torch.equal(alone[0], together[k])


def test_what_is_not_solved_is_no_number() -> None:
    matrices, right = systems(2), random((2, SIZE), 1)
    matrices[0] = torch.eye(SIZE, dtype=torch.float64)
    found = conjugate_gradients(of(matrices), right, halved, iterations=4)
    assert relative(found[:1], right[:1]) < 1e-14
    assert found[1].isnan().all()
