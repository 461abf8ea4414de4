"""The result of a minimisation, and the reason for its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from torch import Tensor


class Reason(IntEnum):
    """Reason for the end of the minimisation of a window."""

    GRADIENT = 0
    """The gradient is small relative to the first."""
    DECREASE = 1
    """J hardly falls any more."""
    PRECISION = 2
    """No step lowers J: the precision of the numbers is reached."""
    EVALUATIONS = 3
    """The number of evaluations has reached its limit."""
    DIVERGED = 4
    """J is not finite, at the start or along the line search."""

    @property
    def converged(self) -> bool:
        """True if the minimum was found to the requested or the possible precision."""
        return self in (Reason.GRADIENT, Reason.DECREASE, Reason.PRECISION)


@dataclass(frozen=True)
class Minimum:
    """The best control of each window.

    Attributes
    ----------
    control : Tensor (window, n)
    cost : Tensor (window,)
        J there.
    gradient_norm : Tensor (window,)
        Euclidean norm of the gradient there.
    evaluations : Tensor (window,), int64
        Evaluations of J with its gradient.
    reason : Tensor (window,), int64
        A `Reason` each.
    history : list of Tensor (window,)
        J at the start and after each iteration; it never grows.
    """

    control: Tensor
    cost: Tensor
    gradient_norm: Tensor
    evaluations: Tensor
    reason: Tensor
    history: list[Tensor]
