"""Norms of residuals: their limits, and weights and curvatures against autograd and differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xvar.core.norm import Huber, Norm, PseudoHuber, Quadratic

NORMS = [Quadratic(), Huber(0.7), PseudoHuber(0.7), Huber(3.0), PseudoHuber(3.0)]


def one(value: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.full((), value, dtype=dtype)


def slope(norm: Norm, residual: Tensor) -> Tensor:
    leaf = residual.clone().requires_grad_()
    return torch.autograd.grad(norm(leaf).sum(), leaf)[0]


@pytest.mark.parametrize("norm", NORMS)
def test_weight_and_curvature_are_derivatives(norm: Norm) -> None:
    residual = torch.linspace(-8, 8, 161, dtype=torch.float64) + 0.013  # beside kinks
    torch.testing.assert_close(norm.weight(residual) * residual, slope(norm, residual), rtol=1e-12, atol=1e-14)
    step = 1e-6
    second = (slope(norm, residual + step) - slope(norm, residual - step)) / (2 * step)
    torch.testing.assert_close(norm.curvature(residual), second, rtol=0, atol=1e-8)


@pytest.mark.parametrize("norm", NORMS)
def test_the_weight_bounds_the_norm_from_above(norm: Norm) -> None:
    """Half-quadratic: the quadratic of slope ρ'(r) at r that touches the norm there lies above it."""
    there, at = torch.meshgrid(*[torch.linspace(-6, 6, 61, dtype=torch.float64)] * 2, indexing="ij")
    bound = norm(at) + 0.5 * norm.weight(at) * (there.square() - at.square())
    assert float((norm(there) - bound).max()) < 1e-12


@pytest.mark.parametrize("kind", [Huber, PseudoHuber])
def test_limits_of_a_robust_norm(kind: type[Huber]) -> None:
    for small in (1e-3, 1e-6):  # ½ r², without a loss of digits
        assert float(kind(1.0)(one(small))) == pytest.approx(0.5 * small**2, rel=small**2)
        assert float(kind(1.0)(one(small, torch.float32))) == pytest.approx(0.5 * small**2, rel=1e-6)
    assert float(kind(1e6)(one(3.0))) == pytest.approx(4.5, rel=1e-10)
    for large in (1e3, 1e6):  # c |r|
        assert float(kind(2.0)(one(large))) == pytest.approx(2 * large, rel=4e-3)
    assert float(slope(kind(2.0), one(1e-9))) == pytest.approx(1e-9)
    assert float(slope(kind(2.0), one(1e9))) == pytest.approx(2)


def test_huber_by_hand() -> None:
    found = Huber(2.0)(torch.tensor([-5.0, -2.0, 1.0, 3.0]))
    assert found.tolist() == [8.0, 2.0, 0.5, 4.0]
