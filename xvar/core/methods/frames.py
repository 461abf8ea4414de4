"""Images as a source of observations of a batch of windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from xvar.core.comparison import Comparison, OfVariables, calibrated
from xvar.core.covariance.base import Covariance
from xvar.core.dynamics import State
from xvar.core.methods.motion import deviation, observed_mean
from xvar.core.observation import Component, Compose, Observation, Operator
from xvar.core.parameters import Parameter
from xvar.core.problem import Problem


@dataclass(frozen=True)
class Frames:
    """Images of one component, or of what an operator makes of the state, in windows that share their times."""

    component: str  # key of the state; not read if the comparison has an operator
    values: Tensor  # (window, frame, *shape), NaN if nothing was observed
    seconds: Sequence[float]  # time of each image after the beginning of the window
    #: Standard deviation σ of the error of observation in the units of what is compared, broadcastable to `values`.
    #: None: `share` of the deviation of the window's images.
    std: Tensor | None = None
    comparison: Comparison = field(default_factory=Comparison)
    share: float = 0.2
    first: int = 0  # image that is compared: 1 if image 0 is the background
    prefix: str = ""  # of the names of parameters, to distinguish sources
    part: int | None = None  # which variable of the component, if it holds several
    reset: bool = False  # replace the component by each image, see `Observation.replaces`
    calibration: Literal["frame", "window"] = "frame"  # one gain and offset for each image, or for all
    channels: bool = False  # the first axis of an image counts its channels
    operator: OfVariables | None = None  # H that a user wrote, of `comparison`
    predictors: Mapping[str, Any] = field(default_factory=dict)  # of the bias: (window, frame, *shape), or an operator
    covariance: Covariance | None = None  # R of correlated errors of an image, see `Observation`

    @property
    def shows_component(self) -> bool:
        """True if the images are those of a whole component of the state."""
        return self.part is None and self.comparison.operator is None

    @property
    def parameters(self) -> dict[str, tuple[Parameter, int | None]]:
        """Parameters by their keys in the state, each with the number of its values, None for one of all frames."""
        frames = len(self.seconds) if self.calibration == "frame" else None
        known = self.comparison.parameters.items()
        return {self.prefix + name: (part, None if name.startswith("bias_") else frames) for name, part in known}

    @property
    def last(self) -> float:
        """Time of the last image."""
        return self.seconds[-1]

    def observations(self) -> tuple[Observation, ...]:
        """Return one observation for each image that is compared."""
        comparison, transform = self.comparison, self.comparison.transform
        compared = self.values
        if transform is not None:
            compared = torch.stack([transform(self._image(index)) for index in range(len(self.seconds))], dim=1)
            compared = compared if self.channels else compared.flatten(1, 2)
        std = self.scaled_error(compared) if self.std is None else self.std
        std = std.expand(compared.shape)
        return tuple(
            Observation(
                time=self.seconds[index],
                operator=self._operator(index) if transform is None else Compose(self._operator(index), transform),
                values=self._with_channel(compared[:, index]),
                std=self._with_channel(std[:, index]),
                norm=comparison.rho,
                replaces=self.component if self.reset else None,
                time_interpolation=comparison.time_interpolation,
                covariance=self.covariance,
                whole=comparison.operator is not None or self.covariance is not None,
            )
            for index in range(self.first, len(self.seconds))
        )

    def _with_channel(self, image: Tensor) -> Tensor:
        """Return an image, or what belongs to one, as (window, channel, *shape)."""
        return image if self.channels else image[:, None]

    def _image(self, index: int) -> Tensor:
        return self._with_channel(self.values[:, index])

    def _operator(self, index: int) -> Operator:
        """From a state to an image, in the units of the observations."""
        operator: Any = self.operator or Component(self.component, None if self.part is None else (self.part,))
        predictors = {
            name: self._with_channel(part[:, index if part.shape[1] > 1 else 0]) if isinstance(part, Tensor) else part
            for name, part in self.predictors.items()
        }
        number = index if self.calibration == "frame" else 0
        equivalent: Operator = calibrated(operator, self.comparison, self.prefix, predictors, number)
        return equivalent

    def departures(self, problem: Problem, trajectory: Sequence[State], rejected: Sequence[Tensor]) -> Tensor:
        """Return observation minus equivalent (window, frame, *shape), before any transform, NaN if `rejected`."""
        found = []
        for index, time in enumerate(self.seconds):
            state = problem.state_at(trajectory, time, self.comparison.time_interpolation)
            departure = self._image(index) - self._operator(index)(state)
            if index >= self.first:
                departure = torch.where(rejected[index - self.first], torch.nan, departure)
            found.append(departure if self.channels else departure[:, 0])
        return torch.stack(found, dim=1)

    def stated_error(self) -> Tensor:
        """Return the root mean square of σ over the compared values (window, frame), NaN if they are transformed."""
        found = self.values.new_full(self.values.shape[:2], torch.nan)
        for index, one in enumerate(self.observations(), self.first) if self.comparison.transform is None else ():
            squares = torch.where(one.mask, one.std.square(), 0.0)
            found[:, index] = (squares.flatten(1).sum(1) / one.count()).sqrt()
        return found

    def scaled_error(self, values: Tensor) -> Tensor:
        """Return `share` of the deviation of each window (window, 1, ...); 1 if nothing varies."""
        spread = deviation(values)
        return torch.where(spread > 0, self.share * spread, torch.ones_like(spread))

    def error_of_background(self, background: Tensor) -> Tensor:
        """Return a standard deviation (window, 1, 1, 1) of a background of the component for which none is stated.

        This is the error of the images, or, if larger, the deviation of the background from the first image: a
        background that is held, or trusted too much, would have to be carried to the images by the motion.
        """
        scaled = self.scaled_error(self.values)
        valid = self.values.isfinite().any(dim=1, keepdim=True)
        off = torch.where(valid, first_known(self.values) - background, torch.zeros_like(background)).square()
        count = valid.flatten(1).sum(1).clamp_min(1)
        return torch.maximum(scaled, (off.flatten(1).sum(1) / count).sqrt().reshape(scaled.shape))

    def curvature(self, observations: Sequence[Observation]) -> dict[str, Tensor]:
        """Return the second derivative of J_o by the component and by gain and offset, for a component at rest.

        After a reset only the first observation depends on the initial state. Of a transform none is known.
        """
        if self.comparison.transform is not None or self.comparison.operator is not None or not observations:
            return {}
        weights = [torch.where(o.mask, o.std**-2, 0.0) for o in observations]
        seen = weights[:1] if self.reset else weights
        known: dict[str, Tensor] = {self.component: sum(seen[1:], seen[0])} if self.part is None else {}
        for name in ("gain", "offset"):
            parameter = getattr(self.comparison, name)
            if parameter is None:
                continue
            squares = [o.values.square() if name == "gain" else torch.ones_like(o.values) for o in observations]
            sums = [(w * part).flatten(1).sum(1) for w, part in zip(weights, squares, strict=True)]
            if self.calibration == "frame":
                by_value = torch.stack([*[torch.zeros_like(sums[0])] * self.first, *sums], dim=1)
            else:
                by_value = torch.stack(sums, dim=1).sum(1, keepdim=True)
            # Of the logarithm, if that is estimated.
            scale = parameter.prior**2 if parameter.positive else 1.0
            known[self.prefix + name] = scale * by_value.reshape(*by_value.shape, *(1,) * (weights[0].ndim - 2))
        return known


def first_known(frames: Tensor) -> Tensor:
    """Return the first frame (window, 1, y, x), holes filled from later ones, then by the mean."""
    known = frames[:, :1]
    for index in range(1, frames.shape[1]):
        known = torch.where(known.isfinite(), known, frames[:, index, None])
    valid, _, _, mean = observed_mean(known)
    return torch.where(valid, known, mean.reshape(-1, *(1,) * (known.ndim - 1)))
