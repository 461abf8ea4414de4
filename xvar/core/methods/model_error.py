"""Model error as it is stated, and the steps in which each forcing acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from xvar.core.problem import ForcedSteps
from xvar.errors import Faults

ForcingInterval = Literal["step", "interval", "window"]

FORCING_INTERVALS: tuple[ForcingInterval, ...] = ("step", "interval", "window")


@dataclass(frozen=True)
class ModelError:
    r"""Model error in the control: :math:`x_{i+1} = M_i(x_i) + \eta_i`, :math:`\eta \sim N(0, Q T)`.

    Parameters
    ----------
    covariance : specification, or mapping of component to specification
        Q, per second: a forcing that acts for T seconds has the variance Q T, in however many steps.
    forcing_interval : {"step", "interval", "window"} or duration
        One forcing for each step, for all steps between two frames, for the whole window (a bias), or for each stretch
        of a duration, such as "6h". A table of points has no frames: ``"interval"`` is then the window, whatever states
        the result holds.

    Raises
    ------
    InputError
        If `forcing_interval` is a word that is none of these.
    """

    covariance: Any
    forcing_interval: Any = "interval"

    def __post_init__(self) -> None:
        """Reject an unknown interval; a duration is read with the other options."""
        faults = Faults()
        if not isinstance(self.forcing_interval, str) or any(letter.isdigit() for letter in self.forcing_interval):
            return
        faults.check_choice("forcing_interval", self.forcing_interval, FORCING_INTERVALS, FORCING_INTERVALS[1])
        faults.raise_if_any()


def forced_steps(
    covariance: Mapping[str, Any],
    forcing_interval: ForcingInterval | float,
    steps: Sequence[float],
    seconds: Sequence[float],
) -> ForcedSteps:
    """Return the weak constraint with a forcing for each interval between frames at `seconds`, see `ModelError`."""
    if forcing_interval == "step":
        return ForcedSteps(covariance, tuple((index,) for index in range(len(steps))))
    if forcing_interval == "window":
        return ForcedSteps(covariance, (tuple(range(len(steps))),))
    ends = torch.tensor(steps, dtype=torch.float64).cumsum(0)
    if isinstance(forcing_interval, float):
        middles = ends - 0.5 * torch.tensor(steps, dtype=torch.float64)
        stretch = (middles.clamp(max=seconds[-1] - 1e-6) / forcing_interval).long()
        numbers = (torch.nonzero(stretch == number).flatten().tolist() for number in stretch.unique())
        return ForcedSteps(covariance, tuple(tuple(group) for group in numbers))
    interval = torch.searchsorted(torch.tensor(seconds[1:], dtype=torch.float64) + 1e-6, ends)
    groups = [torch.nonzero(interval == index).flatten().tolist() for index in range(len(seconds) - 1)]
    return ForcedSteps(covariance, tuple(tuple(group) for group in groups))
