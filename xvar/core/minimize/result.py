"""The result of a minimisation, and the reason for its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from torch import Tensor


class Reason(IntEnum):
    """Reason for the end of the minimisation of a window."""

    GRADIENT = 0  # the gradient is small relative to the first
    DECREASE = 1  # J hardly falls any more
    PRECISION = 2  # no step lowers J: the precision of the numbers is reached
    EVALUATIONS = 3  # the number of evaluations has reached its limit
    DIVERGED = 4  # J is not finite, at the start or along the line search

    @property
    def converged(self) -> bool:
        """True if the minimum was found to the requested or the possible precision."""
        return self in (Reason.GRADIENT, Reason.DECREASE, Reason.PRECISION)


@dataclass(frozen=True)
class Minimum:
    """The best control of each window."""

    control: Tensor  # (window, n)
    cost: Tensor  # J there (window,)
    gradient_norm: Tensor  # Euclidean norm of the gradient there (window,)
    evaluations: Tensor  # of J with its gradient (window,), int64
    reason: Tensor  # a `Reason` each (window,), int64
    history: list[Tensor]  # J at the start and after each iteration (window,); it never grows
