"""Conformance tests of models and covariances; a failed test is reported, never raised."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.dynamics import Dynamics, State

SEED = 0
STEP, SINGLE_STEP = 1e-4, 3e-3  # of a central difference, over the size of the state

INVERSE = 1e-6  # largest relative error of an inverse in float64, which loses digits by the condition number
WINDOWS = 2


@dataclass(frozen=True)
class Row:
    """One test.

    Attributes
    ----------
    name : str
    passed : bool
    error : float
        0 or 1 for a test that has no error.
    tolerance : float
        Largest error that passes.
    message : str
        Cause of a failure, and its fix.
    """

    name: str
    passed: bool
    error: float
    tolerance: float
    message: str


class Rows(list[Row]):
    """Tests of a report, in their order."""

    def test(self, name: str, error: float, tolerance: float, message: str) -> bool:
        """Add a test, and return whether it passed."""
        self.append(Row(name, bool(error <= tolerance), float(error), tolerance, message))
        return self[-1].passed


@dataclass(frozen=True)
class Report:
    """The result of conformance tests; true if all passed.

    Attributes
    ----------
    subject : str
        The tested object.
    rows : tuple of Row
    """

    subject: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """True if all tests passed."""
        return all(row.passed for row in self.rows)

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [f"{self.subject}: {'passed' if self.passed else 'failed'}"]
        for row in self.rows:
            mark = "ok  " if row.passed else "FAIL"
            lines.append(f"  {mark} {row.name:{width}}  {row.error:.1e} (tolerance {row.tolerance:.0e})")
            if not row.passed:
                lines.append(f"       {row.message}")
        return "\n".join(lines)


_GRAPH = "autograd does not see the whole step: look for detach, no_grad, .data, .item(), numpy or in-place work"
_WINDOWS = "a window depends on another: no mean, norm or index may run over the first dimension"
_RANDOM = "the step is random or has a memory: make it a function of its input"
#: Tests that call the model, in their order: the first that is missing after an exception is the one that raised.
_CALLING = {
    "the step runs": "",
    "the step is deterministic": _RANDOM,
    "windows are independent": _WINDOWS,
    "adjoint, by central differences": _GRAPH,
}


def dynamics(model: Dynamics, state: State, seconds: float = 1.0) -> Report:
    r"""Test a model: its output, and that autograd is its adjoint.

    Parameters
    ----------
    model : callable (state, seconds) -> state
        The model, bound to its grid.
    state : dict of Tensor (window, component, \*grid)
        A typical state, preferably of two windows or more and in float64: in float32 the tolerances are wider.
    seconds : float
        The step.

    Returns
    -------
    Report
        One row each: the step runs; keys and shapes are kept; values are finite; the input does not change; the step is
        deterministic; windows are independent; the adjoint identity
        :math:`\langle M' d, y\rangle = \langle d, M'^T y\rangle` with the tangent linear :math:`M' d` by central
        differences, which detects a ``detach``; and the same with the tangent linear by double backward.

    Examples
    --------
    >>> import torch, xvar.check
    >>> decay = lambda state, seconds: {key: 0.9 * values for key, values in state.items()}
    >>> xvar.check.dynamics(decay, {"x": torch.ones(2, 1, 8, dtype=torch.float64)}).passed
    True
    """
    import torch

    from xvar.core.dynamics import start

    original = {key: torch.as_tensor(values).detach().clone() for key, values in state.items()}
    rows = Rows()

    def fresh() -> State:
        return start(model, {key: values.clone() for key, values in original.items()})

    try:
        _test(model, fresh, seconds, rows)
    except Exception as error:  # noqa: BLE001 -- an exception of a user's model is a result
        name = next(name for name in _CALLING if name not in {one.name for one in rows})
        hint = f" ({_CALLING[name]})" if _CALLING[name] else ""
        rows.test(name, 1.0, 0.0, f"{type(error).__name__}: {error}{hint}")
    return Report(f"dynamics {getattr(model, '__name__', type(model).__name__)}", tuple(rows))


def _test(model: Dynamics, fresh: Callable[[], State], seconds: float, rows: Rows) -> None:
    """Add the tests of a model on equal states, each of them `fresh`."""
    import torch

    from xvar.core.step_check import step_once

    kept = fresh()
    first, changed = step_once(model, kept, seconds)
    rows.test("the step runs", 0.0, 0.0, "")
    tensors = all(isinstance(values, torch.Tensor) for values in first.values())
    same = tensors and set(first) == set(kept) and all(first[key].shape == kept[key].shape for key in kept)
    shapes = f"given {_shapes(kept)}, returned {_shapes(first)}"
    if not rows.test("keys and shapes are kept", not same, 0.0, shapes):
        return
    finite = all(bool(values.isfinite().all()) for values in first.values())
    rows.test("values are finite", not finite, 0.0, "the step returns NaN or infinite values: try a shorter step")
    rows.test("the input does not change", bool(changed), 0.0, f"the step changes {changed} in place: work on a copy")
    second = model(fresh(), seconds)
    rows.test("the step is deterministic", max(_distance(first[key], second[key]) for key in first), 0.0, _RANDOM)
    double = all(values.dtype == torch.float64 for values in kept.values())
    exact = 1e-12 if double else 1e-5
    rows.test("windows are independent", _across_windows(model, fresh, seconds), exact, _WINDOWS)
    tangent, adjoint = _identity(model, fresh, seconds, STEP if double else SINGLE_STEP)
    rows.test("adjoint, by central differences", tangent, 1e-7 if double else 1e-2, _GRAPH)
    rows.test("adjoint, by double backward", adjoint, exact, _GRAPH)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(getattr(values, "shape", ())) for key, values in state.items()}


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max()) if a.numel() else 0.0


def _across_windows(model: Dynamics, fresh: Callable[[], State], seconds: float) -> float:
    """Return the change of the first window by a change of the others, over its size."""
    import torch

    base = fresh()
    if len(next(iter(base.values()))) < 2:
        base = {key: torch.cat([values, 1.1 * values + 0.1]) for key, values in base.items()}
    other = {key: torch.cat([values[:1], 0.5 * values[1:] - 0.3]) for key, values in base.items()}
    one, two = model({key: v.clone() for key, v in base.items()}, seconds), model(other, seconds)
    size = max(float(values[:1].detach().abs().max()) for values in one.values())
    return max(_distance(one[key][:1], two[key][:1]) for key in one) / max(size, 1e-300)


def _identity(model: Dynamics, fresh: Callable[[], State], seconds: float, step: float) -> tuple[float, float]:
    """Return the errors of the adjoint identity over |M'd||y|, by differences and by double backward."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    # Copies, as `start` may use a tensor twice.
    state = {key: values.clone().requires_grad_() for key, values in fresh().items()}
    keys = list(state)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)

    def product(left: Mapping[str, Any], right: Mapping[str, Tensor]) -> Tensor:
        return sum(((left[key] * right[key]).sum() for key in left if left[key] is not None), torch.zeros(()))

    direction = {key: noise(values.detach()) * _size(values.detach()) for key, values in state.items()}
    after = model(dict(state), seconds)
    weight = {key: noise(values.detach()).requires_grad_() for key, values in after.items()}
    goal = product({key: after[key] for key in keys}, weight)
    if not goal.requires_grad or all(not values.requires_grad for values in after.values()):
        return 1.0, 1.0
    gradients = torch.autograd.grad(goal, [state[key] for key in keys], create_graph=True, allow_unused=True)
    backward = product(dict(zip(keys, gradients, strict=True)), direction)
    with torch.no_grad():
        ahead, behind = (
            model({key: values.detach() + sign * step * direction[key] for key, values in state.items()}, seconds)
            for sign in (1, -1)
        )
        difference = {key: (ahead[key] - behind[key]) / (2 * step) for key in keys}
        forward = float(product(difference, weight))
        size = _norm(difference) * _norm(weight)
    found = float(backward.detach())
    error = abs(forward - found) / max(size, 1e-300)
    if not backward.requires_grad:
        return error, 1.0
    tangent = torch.autograd.grad(backward, [weight[key] for key in keys], allow_unused=True)
    doubled = float(product(dict(zip(keys, tangent, strict=True)), weight).detach())
    return error, abs(doubled - found) / max(size, 1e-300)


def _size(values: Tensor) -> float:
    """Return the standard deviation of values, at least a thousandth of their root mean square."""
    magnitude = float(values.double().square().mean().sqrt())
    return max(float(values.double().std(correction=0)), 1e-3 * magnitude) or 1e-3


def _norm(parts: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float(values.detach().square().sum()) for values in parts.values()))


def covariance(
    subject: Any, shape: Sequence[int] = (24, 24), spacing: tuple[float, ...] = (1e3, 1e3), *, components: int = 1
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

    from xvar.core.covariance.base import GATE, spectrum
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
