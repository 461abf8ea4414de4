"""Conformance: whether a covariance is one. Nothing here raises for what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xvar.check.conformance import SEED, Report, Row

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.covariance import Covariance
    from xvar.core.grid import Grid

GATE, INVERSE = 1e-9, 1e-6  # relative, in float64; an inverse loses what the condition takes
STEPS = 30  # of the Lanczos iteration
WINDOWS = 2


def covariance(
    subject: Any, shape: Sequence[int] = (24, 24), spacing: tuple[float, float] = (1e3, 1e3), *, components: int = 1
) -> Report:
    r"""Check a covariance: that it is linear, symmetric and positive, and that its parts belong together.

    Parameters
    ----------
    subject : Specification or Covariance
        What is given as ``background_error`` or ``model_error``, or the operator it binds to, in float64.
    shape : sequence of int
        Of the grid on which it is tried.
    spacing : tuple of float
        Metres between rows and between columns.
    components : int
        Of the state it acts on, such as 2 for a motion.

    Returns
    -------
    Report
        One row each, relative errors in float64: linear; symmetric,
        :math:`\langle x, By\rangle = \langle Bx, y\rangle`; positive, by the least eigenvalue that a Lanczos
        iteration finds, over the largest; :math:`B^{1/2} B^{T/2} = B`; :math:`B^{T/2}` the adjoint of
        :math:`B^{1/2}`, against autograd; :math:`B^{-1} B x = x`; windows apart.

    Examples
    --------
    >>> import xvar.check
    >>> from xvar.covariance import Matern
    >>> xvar.check.covariance(Matern(std=0.3, length=5e3)).passed
    True
    """
    import torch

    from xvar.core.grid import Grid

    name = f"covariance {type(subject).__name__}"
    rows: list[Row] = []

    def row(test: str, error: float, words: str, gate: float = GATE) -> None:
        rows.append(Row(test, bool(error <= gate), error, gate, words))

    try:
        bound = hasattr(subject, "sqrt")
        operator = subject if bound else subject.bind(Grid(tuple(shape), spacing), dtype=torch.float64)
        generator = torch.Generator().manual_seed(SEED)
        size = (WINDOWS, components, *shape)

        def random(of: Sequence[int] = size) -> Tensor:
            return torch.randn(tuple(of), generator=generator, dtype=torch.float64)

        x, y = random(), random()
        # Of what the covariance gives, so that an operator without a part of the space is not asked for it.
        given, other = operator.apply(x), operator.apply(y)
        row("linear", _far(operator.apply(2 * x - y), 2 * given - other), "B (2x - y) is not 2 Bx - By")
        symmetry, least = spectrum(operator, size, generator)
        row("symmetric", symmetry, f"<x, By> and <Bx, y> differ by {symmetry:.2g} of their size: B = (A + A^T) / 2")
        row("positive", max(-least, 0.0), f"an eigenvalue of {least:.3g} times the largest: no variance is negative")
        root = operator.sqrt(operator.sqrt_transpose(x))
        row("its square root", _far(root, given), "sqrt(sqrt_transpose(x)) is not apply(x)")
        control = random(operator.control_shape(size)).requires_grad_()
        (adjoint,) = torch.autograd.grad((operator.sqrt(control) * x).sum(), control)
        row("the adjoint of the root", _far(operator.sqrt_transpose(x), adjoint), "not what autograd makes of sqrt")
        back = operator.apply(operator.solve(given))
        row("its inverse", _far(back, given), "apply(solve(x)) is not x", INVERSE)
        alone = operator.select(torch.tensor([0])).apply(x[:1])
        row("windows are apart", _far(alone, given[:1]), "a window changes where another does")
    except Exception as error:  # noqa: BLE001 -- whatever an operator of the user's raises is a finding
        rows.append(Row("it runs", False, 1.0, 0.0, f"{type(error).__name__}: {error}"))
    return Report(name, tuple(rows))


def spectrum(operator: Covariance, size: Sequence[int], generator: Any = None) -> tuple[float, float]:
    r"""How far an operator is from symmetric, and its least eigenvalue over the largest.

    By the Lanczos iteration with all directions kept orthogonal, which finds the ends of the spectrum first.

    Parameters
    ----------
    operator : Covariance
        In float64.
    size : sequence of int
        Of the states, (window, component, \*grid); the first window is looked at.
    generator : torch.Generator, optional
        Of the first direction.

    Returns
    -------
    asymmetry, least : float
    """
    import torch

    generator = generator or torch.Generator().manual_seed(SEED)
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


def refusal(specification: Any, grid: Grid, components: int) -> tuple[str, str] | None:
    """What is wrong with a covariance of the user's own, and what would mend it; None where nothing is.

    Those of xvar are symmetric and positive as they are made, and cost nothing here.
    """
    import torch

    if type(specification).__module__.partition(".")[0] == "xvar":
        return None
    operator = specification.bind(grid, dtype=torch.float64)
    asymmetry, least = spectrum(operator, (1, components, *grid.shape))
    if asymmetry > GATE:
        return (
            f"a covariance that is not symmetric: <x, By> and <Bx, y> differ by {asymmetry:.2g} of their size",
            "B = (A + A^T) / 2; see xvar.check.covariance",
        )
    if least < -GATE:
        return (
            f"a covariance that is not positive: its least eigenvalue is {least:.3g} times the largest",
            "take the negative part of its spectrum away, or shorten its tails; see xvar.check.covariance",
        )
    return None


def _far(one: Tensor, other: Tensor) -> float:
    """Their distance over their size."""
    return float((one - other).detach().norm() / other.detach().norm().clamp_min(1e-300))
