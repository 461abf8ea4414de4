"""What a minimisation came to, and why it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from torch import Tensor


class Reason(IntEnum):
    """Why the minimisation of a window stopped."""

    GRADIENT = 0
    """The gradient is small against the first one."""
    DECREASE = 1
    """J hardly falls any more."""
    PRECISION = 2
    """No step lowers J: the precision of the numbers is reached."""
    EVALUATIONS = 3
    """The evaluations that were allowed are spent."""
    DIVERGED = 4
    """J is not finite, at the start or wherever the line search went."""

    @property
    def converged(self) -> bool:
        """Whether the minimum was found as well as was asked for."""
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
        J after each iteration, the first at the start; it never grows.
    """

    control: Tensor
    cost: Tensor
    gradient_norm: Tensor
    evaluations: Tensor
    reason: Tensor
    history: list[Tensor]
