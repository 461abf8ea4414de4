"""Conformance: whether a model is what 4D-Var needs. Nothing here raises for what it finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from xvar.core.dynamics import Dynamics, State

SEED = 0
STEP, SINGLE_STEP = 1e-4, 3e-3  # of a central difference, over the size of the state


@dataclass(frozen=True)
class Row:
    """One test.

    Attributes
    ----------
    name : str
        What was tested.
    passed : bool
    error : float
        By how much it was missed; 0 or 1 where the answer is yes or no.
    gate : float
        The largest error that passes.
    words : str
        What it means where it fails, and how to mend it.
    """

    name: str
    passed: bool
    error: float
    gate: float
    words: str


@dataclass(frozen=True)
class Report:
    """The outcome of a conformance check; true where all tests passed.

    Attributes
    ----------
    subject : str
        What was examined.
    rows : tuple of Row
        A test each: its error, and what it may be at most.
    """

    subject: str
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return all(row.passed for row in self.rows)

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        """The text itself, for a notebook or a prompt."""
        return str(self)

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [f"{self.subject}: {'passed' if self.passed else 'failed'}"]
        for row in self.rows:
            mark = "ok  " if row.passed else "FAIL"
            lines.append(f"  {mark} {row.name:{width}}  {row.error:.1e} (gate {row.gate:.0e})")
            if not row.passed:
                lines.append(f"       {row.words}")
        return "\n".join(lines)


def dynamics(model: Dynamics, state: State, seconds: float = 1.0) -> Report:
    r"""Check a model: what it gives, and that autograd is its adjoint.

    Parameters
    ----------
    model : callable (state, seconds) -> state
        The model, or a specification of one that is bound to its grid already.
    state : dict of Tensor (window, component, \*grid)
        A typical state, best of two windows or more and in float64: in float32 the gates are wider.
    seconds : float
        The step.

    Returns
    -------
    Report
        One row each: the step runs; keys and shapes stay; values are finite; the input is left alone; the same step
        twice is the same; windows do not see one another; the adjoint identity
        :math:`\langle M' d, y\rangle = \langle d, M'^T y\rangle` with the tangent linear :math:`M' d` by central
        differences, which no stray ``detach`` passes; and the same with the tangent linear by double backward.

    Examples
    --------
    >>> import torch, xvar.check
    >>> decay = lambda state, seconds: {key: 0.9 * values for key, values in state.items()}
    >>> xvar.check.dynamics(decay, {"x": torch.ones(2, 1, 8, dtype=torch.float64)}).passed
    True
    """
    import torch

    from xvar.core.dynamics import start

    subject = f"dynamics {getattr(model, '__name__', type(model).__name__)}"
    generator = torch.Generator().manual_seed(SEED)
    original = {key: values.detach().clone() for key, values in state.items()}

    def fresh() -> State:
        return start(model, {key: values.clone() for key, values in original.items()})

    rows: list[Row] = []

    def row(name: str, error: float, gate: float, words: str) -> bool:
        rows.append(Row(name, error <= gate, error, gate, words))
        return rows[-1].passed

    def examine() -> None:
        given = fresh()
        kept = {key: values.clone() for key, values in given.items()}
        first = dict(model(given, seconds))
        row("the step runs", 0.0, 0.0, "")
        tensors = all(isinstance(values, torch.Tensor) for values in first.values())
        same = tensors and set(first) == set(kept) and all(first[key].shape == kept[key].shape for key in kept)
        if not row("keys and shapes stay", float(not same), 0.0, f"given {_shapes(kept)}, got {_shapes(first)}"):
            return
        finite = all(bool(values.isfinite().all()) for values in first.values())
        row("values are finite", float(not finite), 0.0, "the step gives NaN or infinite values: a shorter step?")
        touched = [key for key in kept if not torch.equal(given[key], kept[key])]
        row(
            "the input is left alone", float(bool(touched)), 0.0, f"the step changes {touched} in place: work on a copy"
        )
        second = model(fresh(), seconds)
        repeated = max(_distance(first[key], second[key]) for key in first)
        row("the same step twice is the same", repeated, 0.0, "the step is random, or remembers: make it a function")
        row("windows are apart", _across_windows(model, fresh, seconds), _gate(kept, 1e-12, 1e-5), _APART)
        tangent, adjoint = _identity(model, fresh, seconds, generator)
        row("adjoint, by central differences", tangent, _gate(kept, 1e-7, 1e-2), _GRAPH)
        row("adjoint, by double backward", adjoint, _gate(kept, 1e-12, 1e-5), _GRAPH)

    try:
        examine()
    except Exception as error:  # noqa: BLE001 -- whatever a model of the user's raises is a finding
        asked = (
            "the step runs",
            "the same step twice is the same",
            "windows are apart",
            "adjoint, by central differences",
        )
        done = {one.name for one in rows}
        name = next(name for name in asked if name not in done)
        words = f"{type(error).__name__}: {error}"
        row(name, 1.0, 0.0, words if name in asked[:2] else f"{words} ({_APART if name == asked[2] else _GRAPH})")
    return Report(subject, tuple(rows))


_GRAPH = "autograd does not see the whole step: look for detach, no_grad, .data, .item(), numpy or in-place work"
_APART = "a window changes where another does: no mean, norm or index may run over the first dimension"


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(getattr(values, "shape", ())) for key, values in state.items()}


def _gate(state: Mapping[str, Tensor], double: float, single: float) -> float:
    """Of the two numbers the one for the narrowest type of the state."""
    import torch

    return double if all(values.dtype == torch.float64 for values in state.values()) else single


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.numel() else 0.0


def _across_windows(model: Dynamics, fresh: Callable[[], State], seconds: float) -> float:
    """How far the first window is moved by a change of the others, over its size."""
    import torch

    base = fresh()
    if len(next(iter(base.values()))) < 2:
        base = {key: torch.cat([values, 1.1 * values + 0.1]) for key, values in base.items()}
    other = {key: torch.cat([values[:1], 0.5 * values[1:] - 0.3]) for key, values in base.items()}
    one, two = model({key: v.clone() for key, v in base.items()}, seconds), model(other, seconds)
    size = max(float(values[:1].abs().max()) for values in one.values())
    return max(_distance(one[key][:1], two[key][:1]) for key in one) / max(size, 1e-300)


def _identity(model: Dynamics, fresh: Callable[[], State], seconds: float, generator: Any) -> tuple[float, float]:
    """Errors of the adjoint identity over |M'd||y|, with the tangent linear by differences and by double backward."""
    import torch

    # Copies: `start` may give a tensor twice, and each stands for itself here.
    state = {key: values.clone().requires_grad_() for key, values in fresh().items()}
    keys = list(state)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)

    direction = {key: noise(values.detach()) * _size(values.detach()) for key, values in state.items()}
    after = model(dict(state), seconds)
    weight = {key: noise(values.detach()).requires_grad_() for key, values in after.items()}
    product = sum(((after[key] * weight[key]).sum() for key in keys), torch.zeros(()))
    if not product.requires_grad or all(not values.requires_grad for values in after.values()):
        return 1.0, 1.0
    gradients = torch.autograd.grad(product, [state[key] for key in keys], create_graph=True, allow_unused=True)
    backward = sum(
        ((g * direction[key]).sum() for g, key in zip(gradients, keys, strict=True) if g is not None), torch.zeros(())
    )
    step = _gate(state, STEP, SINGLE_STEP)
    with torch.no_grad():
        ahead, behind = (
            model({key: values.detach() + sign * step * direction[key] for key, values in state.items()}, seconds)
            for sign in (1, -1)
        )
        difference = {key: (ahead[key] - behind[key]) / (2 * step) for key in keys}
        forward = sum(float((difference[key] * weight[key].detach()).sum()) for key in keys)
        size = _norm(difference) * _norm({key: values.detach() for key, values in weight.items()})
    found = float(backward.detach())
    error = abs(forward - found) / max(size, 1e-300)
    if not backward.requires_grad:
        return error, 1.0
    tangent = torch.autograd.grad(backward, [weight[key] for key in keys], allow_unused=True)
    doubled = sum(
        float((part * weight[key]).sum().detach()) for part, key in zip(tangent, keys, strict=True) if part is not None
    )
    return error, abs(doubled - found) / max(size, 1e-300)


def _size(values: Tensor) -> float:
    """How much values vary, or a share of how great they are where they hardly do."""
    great = float(values.double().square().mean().sqrt())
    return max(float(values.double().std(correction=0)), 1e-3 * great) or 1e-3


def _norm(parts: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float(values.square().sum()) for values in parts.values()))
