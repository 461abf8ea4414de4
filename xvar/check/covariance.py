"""Conformance tests of covariances; a failed test is reported, never raised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xvar.check.conformance import SEED, Report, Rows

if TYPE_CHECKING:
    from torch import Tensor

INVERSE = 1e-6  # largest relative error of an inverse in float64, which loses digits by the condition number
WINDOWS = 2


def covariance(
    subject: Any, shape: Sequence[int] = (24, 24), spacing: tuple[float, float] = (1e3, 1e3), *, components: int = 1
) -> Report:
    r"""Test a covariance: linear, symmetric and positive, with a root, an adjoint and an inverse that fit it.

    Parameters
    ----------
    subject : Specification or Covariance
        A value of ``background_error`` or ``model_error``, or a bound operator in float64.
    shape : sequence of int
        Shape of the test grid.
    spacing : tuple of float
        Metres between its rows and between its columns.
    components : int
        Number of components of the state, such as 2 for a motion.

    Returns
    -------
    Report
        One row each, relative errors in float64: linear; symmetric,
        :math:`\langle x, By\rangle = \langle Bx, y\rangle`; positive, by the least eigenvalue that a Lanczos
        iteration finds, over the largest; :math:`B^{1/2} B^{T/2} = B`; :math:`B^{T/2}` the adjoint of
        :math:`B^{1/2}`, against autograd; :math:`B B^{-1} x = x`; windows independent.

    Examples
    --------
    >>> import xvar.check
    >>> from xvar.covariance import Matern
    >>> xvar.check.covariance(Matern(std=0.3, length=5e3)).passed
    True
    """
    import torch

    from xvar.core.covariance.validity import GATE, spectrum
    from xvar.core.grid import Grid

    rows = Rows()

    def row(test: str, error: float, message: str, tolerance: float = GATE) -> None:
        rows.test(test, error, tolerance, message)

    try:
        bound = hasattr(subject, "sqrt")
        operator = subject if bound else subject.bind(Grid(tuple(shape), spacing), dtype=torch.float64)
        generator = torch.Generator().manual_seed(SEED)
        size = (WINDOWS, components, *shape)

        def random(of: Sequence[int] = size) -> Tensor:
            return torch.randn(tuple(of), generator=generator, dtype=torch.float64)

        x, y = random(), random()
        # The inverse is tested in the range of B, which may be singular.
        given, other = operator.apply(x), operator.apply(y)
        row("linear", _error(operator.apply(2 * x - y), 2 * given - other), "B (2x - y) is not 2 Bx - By")
        symmetry, least = spectrum(operator, size, generator)
        row("symmetric", symmetry, f"<x, By> and <Bx, y> differ by {symmetry:.2g} of their size: B = (A + A^T) / 2")
        row("positive", max(-least, 0.0), f"an eigenvalue of {least:.3g} times the largest: no variance is negative")
        transpose = operator.sqrt_transpose(x)
        row("square root", _error(operator.sqrt(transpose), given), "sqrt(sqrt_transpose(x)) is not apply(x)")
        control = random(operator.control_shape(size)).requires_grad_()
        (adjoint,) = torch.autograd.grad((operator.sqrt(control) * x).sum(), control)
        row("adjoint of the root", _error(transpose, adjoint), "autograd of sqrt gives another adjoint")
        back = operator.apply(operator.solve(given))
        row("inverse", _error(back, given), "apply(solve(x)) is not x", INVERSE)
        alone = operator.select(torch.tensor([0])).apply(x[:1])
        row("windows are independent", _error(alone, given[:1]), "a window depends on another")
    except Exception as error:  # noqa: BLE001 -- an exception of a user's operator is a result
        rows.test("it runs", 1.0, 0.0, f"{type(error).__name__}: {error}")
    return Report(f"covariance {type(subject).__name__}", tuple(rows))


def _error(one: Tensor, other: Tensor) -> float:
    """Return the distance of two tensors over the norm of the second."""
    return float((one - other).detach().norm() / other.detach().norm().clamp_min(1e-300))
