"""Symmetry and positivity of covariance operators, without forming them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xvar.core.covariance.base import Covariance, Specification
from xvar.core.grid import Grid
from xvar.errors import Fault

#: Largest asymmetry, and largest negative eigenvalue over the largest of all, of an operator in float64.
GATE = 1e-9
#: Steps of the Lanczos iteration.
STEPS = 30


def validity_fault(specification: Specification, grid: Grid, components: int) -> Fault | None:
    """Return the fault of a covariance that is not symmetric or not positive on a grid; None if it is both.

    The covariances of xvar are symmetric and positive by construction and are not tested.
    """
    if type(specification).__module__.partition(".")[0] == "xvar":
        return None
    operator = specification.bind(grid, dtype=torch.float64)
    asymmetry, least = spectrum(operator, (1, components, *grid.shape))
    if asymmetry > GATE:
        return Fault(
            f"a covariance that is not symmetric: <x, By> and <Bx, y> differ by {asymmetry:.2g} of their size",
            "a covariance: symmetric, and no eigenvalue below zero",
            "B = (A + A^T) / 2; see xvar.check.covariance",
            code="covariance-not-symmetric",
        )
    if least < -GATE:
        return Fault(
            f"a covariance that is not positive: its least eigenvalue is {least:.3g} times the largest",
            "a covariance: symmetric, and no eigenvalue below zero",
            "set the negative part of its spectrum to zero, or shorten its tails; see xvar.check.covariance",
            code="covariance-not-positive",
        )
    return None


def spectrum(
    operator: Covariance, size: Sequence[int], generator: torch.Generator | None = None
) -> tuple[float, float]:
    r"""Return the asymmetry of a float64 operator, and its least eigenvalue over the largest.

    The asymmetry is :math:`|\langle x, By\rangle - \langle Bx, y\rangle| / |x| |By|` for random x and y. The
    eigenvalues are those of the Lanczos iteration with full reorthogonalisation, which finds the ends of the spectrum
    first. Of states (window, component, \*grid) of this size the first window is tested.
    """
    generator = generator or torch.Generator().manual_seed(0)
    one = (1, *size[1:])
    if size[0] > 1:
        operator = operator.select(torch.tensor([0]))

    def apply(flat: Tensor) -> Tensor:
        return operator.apply(flat.reshape(one)).reshape(-1)

    count = int(torch.tensor(one).prod())
    x, y = (torch.randn(count, generator=generator, dtype=torch.float64) for _ in range(2))
    with torch.no_grad():
        bx, by = apply(x), apply(y)
        asymmetry = float((x @ by - bx @ y).abs() / (x.norm() * by.norm()).clamp_min(1e-300))
        basis, projected = [x / x.norm()], torch.zeros(0, 0, dtype=torch.float64)
        for step in range(min(STEPS, count)):
            image = apply(basis[step])
            stacked = torch.stack(basis)
            grown = torch.zeros(step + 1, step + 1, dtype=torch.float64)
            grown[:step, :step] = projected
            grown[:, step] = grown[step, :] = stacked @ image
            projected = grown
            for _ in range(2):
                image = image - stacked.T @ (stacked @ image)
            if float(image.norm()) <= 1e-12 * float(by.norm()):
                break
            basis.append(image / image.norm())
        values = torch.linalg.eigvalsh(projected)
    return asymmetry, float(values[0] / values.abs().max().clamp_min(1e-300))
