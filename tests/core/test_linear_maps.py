"""Conjugate gradients against direct solvers, and windows alone and in a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.core.numerics import random, relative
from xvar.core.linear_maps import conjugate_gradients, inverse_square_root, truncated_conjugate_gradients

SIZE = 12


def systems(windows: int) -> Tensor:
    """Symmetric positive matrices (window, row, column), of rising condition number."""
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


def test_there_are_as_many_steps_as_unknowns() -> None:
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


def test_a_window_that_is_zero_small_or_nan_does_not_disturb_the_others() -> None:
    matrices, right = systems(4), random((4, SIZE), 1)
    right[1], right[2], right[3] = 0, 1e-8 * right[2], torch.nan
    found = conjugate_gradients(of(matrices), right, halved)
    expected = torch.linalg.solve(matrices, right[..., None])[..., 0]
    for window in (0, 2):
        assert relative(found[window], expected[window]) < 1e-11
    assert not found[1].any()
    assert found[3].isnan().all()
    assert not conjugate_gradients(of(matrices), torch.zeros_like(right), halved).any()


def test_a_window_has_the_same_bits_alone() -> None:
    matrices, right = systems(4), random((4, SIZE), 1)
    together = conjugate_gradients(of(matrices), right, halved)
    for k in range(4):
        alone = conjugate_gradients(of(matrices[k : k + 1]), right[k : k + 1], halved)
        assert torch.equal(alone[0], together[k])


def test_a_window_that_is_not_solved_is_nan() -> None:
    matrices, right = systems(2), random((2, SIZE), 1)
    matrices[0] = torch.eye(SIZE, dtype=torch.float64)
    found = conjugate_gradients(of(matrices), right, halved, iterations=4)
    assert relative(found[:1], right[:1]) < 1e-14
    assert found[1].isnan().all()


def test_truncated_iterations_stop_window_by_window() -> None:
    matrices, right = systems(3), random((3, SIZE), 1)
    matrices[0], right[1] = torch.eye(SIZE, dtype=torch.float64), 0
    solution, products = truncated_conjugate_gradients(of(matrices), right, halved, 1e-20, 50)
    expected = torch.linalg.solve(matrices, right[..., None])[..., 0]
    assert relative(solution, expected) < 1e-9
    assert products[:2].tolist() == [1, 0]
    assert SIZE - 2 <= products[2] <= SIZE + 3
    _, products = truncated_conjugate_gradients(of(matrices), right, halved, 0.0, 2)
    assert products.tolist() == [1, 0, 2]
    alone, _ = truncated_conjugate_gradients(of(matrices[2:]), right[2:], halved, 1e-20, 50)
    assert torch.equal(alone[0], solution[2])


def test_the_inverse_square_root_is_that_of_the_eigenvalues() -> None:
    """To rounding after as many products as there are values, and a window alone as in a batch."""
    matrices, right = systems(3), random((3, SIZE), 5)
    found = inverse_square_root(of(matrices), right, SIZE, 0.0)
    values, vectors = torch.linalg.eigh(matrices)
    exact = (vectors * values.rsqrt()[:, None]) @ vectors.mT
    assert relative(found, of(exact)(right)) < 1e-10
    errors = [relative(inverse_square_root(of(matrices), right, count, 0.0), of(exact)(right)) for count in (4, 8, 11)]
    assert 0.5 > errors[0] > errors[1] > errors[2] > 1e-10
    for window in range(3):
        alone = inverse_square_root(of(matrices[window : window + 1]), right[window : window + 1], SIZE, 0.0)
        assert torch.allclose(alone[0], found[window], rtol=1e-12)


def test_the_inverse_square_root_of_the_identity_ends_at_once() -> None:
    right = random((2, SIZE), 5)
    assert torch.allclose(inverse_square_root(lambda x: x.clone(), right, SIZE, 1e-6), right)
    nothing = inverse_square_root(lambda x: x.clone(), torch.zeros_like(right), SIZE, 1e-6)
    assert torch.equal(nothing, torch.zeros_like(right))
