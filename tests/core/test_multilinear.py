from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.core.numerics import generator, random
from xvar.core.interpolate import sample
from xvar.core.multilinear import multilinear

SHAPES = [(7,), (5, 6), (3, 4, 5), (3, 2, 4, 3)]


def places(shape: tuple[int, ...], points: int = 40, windows: int = 2) -> Tensor:
    """Positions within a grid, the last axis first."""
    size = torch.tensor(shape[::-1], dtype=torch.float64)[:, None] - 1
    return torch.rand(windows, len(shape), points, generator=generator(3), dtype=torch.float64) * size


def linear_in_each(coordinates: list[Tensor]) -> Tensor:
    result = torch.ones_like(coordinates[0])
    for number, part in enumerate(coordinates, 1):
        result = result * (1 + 0.3 * number * part) - 0.1 * part
    return result


@pytest.mark.parametrize("shape", SHAPES)
def test_functions_that_are_linear_along_each_axis_are_exact(shape: tuple[int, ...]) -> None:
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    field = linear_in_each(list(axes)).expand(2, 3, *shape)
    where = places(shape)
    exact = linear_in_each([where[:, -1 - axis] for axis in range(len(shape))])
    for found in (multilinear(field, where), sample(field, where)):
        torch.testing.assert_close(found, exact[:, None].expand_as(found), rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("edges", ["free", "periodic"])
def test_grid_points_have_their_own_values(shape: tuple[int, ...], edges: str) -> None:
    field = random((1, 1, *shape), 5)
    every = torch.stack([part.flatten() for part in torch.meshgrid(*map(torch.arange, shape), indexing="ij")]).flip(0)
    assert torch.equal(multilinear(field, every[None].double(), edges)[0, 0], field.flatten())


@pytest.mark.parametrize("edges", ["free", "periodic"])
def test_two_axes_are_those_of_bilinear_sampling(edges: str) -> None:
    field = random((2, 3, 5, 6), 1)
    where = places((5, 6)) * (1.0 if edges == "free" else 3.0) - (0.0 if edges == "free" else 4.0)
    torch.testing.assert_close(
        multilinear(field, where, edges), sample(field, where, "bilinear", edges), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_a_periodic_field_may_be_rolled(shape: tuple[int, ...]) -> None:
    field, where = random((2, 1, *shape), 2), 5 * places(shape) - 7
    for axis in range(len(shape)):
        moved = where.clone()
        moved[:, -1 - axis] += 1
        rolled = multilinear(field.roll(1, 2 + axis), moved, "periodic")
        torch.testing.assert_close(rolled, multilinear(field, where, "periodic"), rtol=0, atol=1e-11)


def test_beyond_the_edges_are_the_values_of_the_edges() -> None:
    line = torch.tensor([[[1.0, 2.0, 4.0]]], dtype=torch.float64)
    where = torch.tensor([[[-3.0, 0.5, 7.0, 2.5]]], dtype=torch.float64)
    assert multilinear(line, where)[0, 0].tolist() == [1.0, 1.5, 4.0, 4.0]
    assert multilinear(line, where, "periodic")[0, 0].tolist() == [1.0, 1.5, 2.0, 2.5]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("edges", ["free", "periodic"])
def test_gradients(shape: tuple[int, ...], edges: str) -> None:
    """The adjoint of the field, and slopes along each position within the cells."""
    field, where = random((2, 2, *shape), 1).requires_grad_(), places(shape, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: multilinear(*given, edges), (field, where))
    other = random((2, 2, 4), 9)
    (adjoint,) = torch.autograd.grad(multilinear(field, where, edges), field, other)
    left = (multilinear(field, where, edges) * other).sum().detach()
    assert float((adjoint * field.detach()).sum()) == pytest.approx(float(left), rel=1e-13)


def test_one_lost_position_gives_nan_alone() -> None:
    where = torch.tensor([[[0.5, torch.nan, 1.5]]], dtype=torch.float64)
    assert sample(torch.arange(3.0).double()[None, None], where).isnan().flatten().tolist() == [False, True, False]
