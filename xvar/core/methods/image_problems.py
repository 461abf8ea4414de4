"""J of the motion of images: scaled images, priors, and the problems of both outer loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from xvar.core.covariance import Matern, Tikhonov
from xvar.core.finite import filled, is_finite
from xvar.core.grid import Grid
from xvar.core.methods.motion import cadence, damp_shortest, deviation, scale_of
from xvar.core.models.parcels import ImageAtParcels, Parcels, decay_integral
from xvar.core.norm import PseudoHuber
from xvar.core.observation import Observation
from xvar.core.problem import Problem

Transform = Literal["none", "square_root"]

QUADRATIC = 0.3  # share of the comparisons in which the pseudo-Huber norm is quadratic, about


@dataclass(frozen=True)
class Smoothness:
    """Prior of a motion, in grid cells and frames."""

    gradient: float  # weight of the squared gradient of the displacement in a frame, see `Tikhonov`
    curvature: float  # weight of its squared curvature
    mean: float = 30.0  # standard deviation of its mean over the domain

    def in_metres(self, frame: float, spacing: tuple[float, ...], truncation: float) -> Tikhonov:
        """Return B of a velocity in m/s, for frames this many seconds apart and cells of this spacing in metres."""
        cell = math.sqrt(math.prod(spacing))
        return Tikhonov(
            gradient=self.gradient * frame**2,
            curvature=self.curvature * (frame * cell) ** 2,
            mean_std=self.mean * cell / frame,
            truncation=truncation,
        )


@dataclass(frozen=True)
class Transient:
    """Fading motion and source that the newest pair of images determines, in grid cells and frames."""

    smoothness: Smoothness  # prior of the transient motion
    lifetime: float  # of the transient motion
    # Growth and decay of the value of a parcel: standard deviation in a frame over that of the images, length of its
    # Matérn correlation, and lifetime.
    source_std: float
    source_length: float
    source_lifetime: float
    levels: tuple[int, ...] = (2, 1)  # see `solve`


@dataclass(frozen=True)
class ScaledImages:
    """Images of a batch of windows, scaled to unit standard deviation."""

    values: Tensor  # (window, frame, y, x), NaN if not observed
    seconds: Sequence[float]  # their times
    frame: float  # unit of time of the priors, in seconds
    grid: Grid
    error: Tensor | float  # σ, (window, 1, 1, 1) or a number

    @property
    def last(self) -> Tensor:
        """The last image (window, 1, y, x), zero if not observed."""
        return filled(self.values[:, -1:])

    def squared_gradient(self) -> Tensor:
        """Estimate the second derivative of J_o by a displacement in metres, (window, 2, 1, 1)."""
        along = (self.last.diff(dim=-1), self.grid.spacing[1]), (self.last.diff(dim=-2), self.grid.spacing[0])
        squares = [change.square().mean((-2, -1)) / spacing**2 for change, spacing in along]
        return QUADRATIC / self.error**2 * torch.cat(squares, dim=1)[..., None, None]


@dataclass(frozen=True)
class ImageProblems:
    r"""J of the motion, and the growth, at the end of a window of images.

    Parcels are followed backward in time from the points of the last image, and earlier images are compared with the
    values of the parcels at their positions then:

    .. math::

        J = \tfrac12 \|x\|^2_B + \sum_k \sum_x \rho\Bigl(\frac{y_{-k}(X_{-k}(x)) - I_{-k}(x)}{\sigma}\Bigr), \quad
        \dot X = w(X) + q(X, t), \quad \dot I = s(t), \quad I_0 = y_0

    with :math:`\rho(r) = c^2 (\sqrt{1 + (r/c)^2} - 1)` and images scaled to unit standard deviation in each window. Two
    outer loops find it. The first finds the steady motion w alone from all images, since with a source part of the
    motion would appear as growth. The second keeps that motion and finds the parts that fade from the newest pair: the
    transient motion q and the source s, at the time of the last image. Lengths are in grid cells and times in frames,
    since the resolved scales and the errors of images depend on both.
    """

    transform: Transform = "none"  #: Compare the variable, or its root, whose error varies less in rain.
    steady: Smoothness = Smoothness(250.0, 2500.0)  #: Prior of w.
    background_error: Any = None  #: B of w in m s-1 and metres, instead of that of `steady`.
    transient: Transient | None = None  #: Priors of q and s; None: the first loop only.
    ages: int = 3  #: Images before the last that the first loop compares.
    error: float = 0.2  #: σ, over the standard deviation of the images.
    #: Error of observation in the units of the variable, instead of `error`: σ is this times the derivative of the
    #: transform at the median of the window's positive values; a window without any keeps `error`.
    observation_error: float | None = None
    threshold: float = 1.0  #: c, in σ.
    truncation: float = 0.5  #: Share of the wavenumbers that the control holds, see `Tikhonov`.

    def steady_problem(self, images: ScaledImages, guess: Tensor | None = None) -> Problem:
        """Return the problem of the first loop.

        `guess` (window, 2, y, x) in m/s is the centre of the prior of the motion (default: rest).
        """
        rest = images.values.new_zeros(len(images.values), 2, *images.grid.shape)
        prior = self.background_error
        if prior is None:
            prior = self.steady.in_metres(images.frame, images.grid.spacing, self.truncation)
        seconds = images.seconds
        ages = range(1, min(self.ages, len(seconds) - 1) + 1)
        moved = images.frame**2 * sum(age**2 for age in ages)
        return Problem(
            grid=images.grid,
            dynamics=Parcels(),
            steps=tuple(seconds[-1 - age] - seconds[-age] for age in ages),
            background={"velocity": rest if guess is None else guess, "tracer": images.last},
            background_error={"velocity": prior},
            observations=self._observations(images, ages),
            curvature={"velocity": moved * images.squared_gradient()},
        )

    def transient_problem(self, images: ScaledImages, steady: Tensor, transient: Transient) -> Problem:
        """Return the problem of the second loop, about the steady motion (window, 2, y, x) in m/s.

        It compares images of which the shortest waves are damped, see `damp_shortest`: between pixels the bilinear
        interpolation damps the image before, most at half a pixel, and a free motion would go there to reduce the
        misfit of noise. The forecast carries the image as observed.
        """
        images = replace(images, values=damp_shortest(images.values[:, -2:]), seconds=images.seconds[-2:])
        frame, spacing, tracer = images.frame, images.grid.spacing, images.last
        length = transient.source_length * math.sqrt(math.prod(spacing))
        step = images.seconds[-2] - images.seconds[-1]
        lifetimes = transient.lifetime * frame, transient.source_lifetime * frame
        moved, grown = (decay_integral(step, lifetime) ** 2 for lifetime in lifetimes)
        return Problem(
            grid=images.grid,
            dynamics=Parcels(*lifetimes),
            steps=(step,),
            background={
                "velocity": steady,
                "transient": steady.new_zeros(()).expand_as(steady),
                "tracer": tracer,
                "source": tracer.new_zeros(()).expand_as(tracer),
            },
            background_error={
                "transient": transient.smoothness.in_metres(frame, spacing, self.truncation),
                "source": Matern(transient.source_std / frame, length, truncation=self.truncation),
            },
            observations=self._observations(images, (1,)),
            curvature={
                "transient": moved * images.squared_gradient(),
                "source": QUADRATIC / images.error**2 * grown * tracer.new_ones((1, 1, 1, 1)),
            },
        )

    def _observations(self, images: ScaledImages, ages: Sequence[int]) -> tuple[Observation, ...]:
        """Return the images before the last, each compared with the parcels that the last one sees."""
        values, seconds, error = images.values, images.seconds, images.error
        last = values[:, -1:]
        wanted, known = torch.zeros_like(last), is_finite(last)
        return tuple(
            Observation(
                time=seconds[-1 - age] - seconds[-1],
                operator=ImageAtParcels(values[:, -1 - age, None]),
                values=wanted,
                std=error if isinstance(error, Tensor) else last.new_full((), error),
                norm=PseudoHuber(self.threshold),
                valid=known,
            )
            for age in ages
        )

    def problem(self, frames: Tensor, seconds: Sequence[float], grid: Grid, guess: Tensor | None = None) -> Problem:
        """Return the problem of the first loop, on the full grid, for frames in the units of the variable."""
        return self.steady_problem(self._scaled(frames, range(len(seconds)), seconds, grid)[0], guess)

    def _scaled(
        self, frames: Tensor, kept: Sequence[int], seconds: Sequence[float], grid: Grid
    ) -> tuple[ScaledImages, Tensor]:
        """Return some of the images, and the deviation of the compared variable in all frames (window, 1, 1, 1)."""
        compared = forward(self.transform, frames)
        spread = deviation(compared)
        scale, times = scale_of(spread), [seconds[index] for index in kept]
        images = compared[:, list(kept)].div_(scale)
        return ScaledImages(images, times, cadence(seconds), grid, self._share(frames, scale)), spread

    def _share(self, frames: Tensor, scale: Tensor) -> Tensor | float:
        """Return σ over the deviation of the images: the default share, or (window, 1, 1, 1) of a stated error."""
        if self.observation_error is None:
            return self.error
        positive = torch.where(is_finite(frames) & (frames > 0), frames, torch.nan).flatten(1)
        median = positive.nanmedian(dim=1).values[:, None, None, None]
        slope = 0.5 / median.sqrt() if self.transform == "square_root" else torch.ones_like(median)
        share = self.observation_error * slope / scale
        return torch.where(share.isfinite() & (share > 0), share, self.error)

    def forecast(self, steady: Tensor, transient: Tensor | None, seconds: float, frame: float) -> Tensor:
        r"""Return the motion some time after an analysis: the centre of the prior of the next window of a chain.

        .. math:: w_b = w + q\, e^{-t / \tau}

        with w and q (window, 2, y, x) at the end of the window before, and the lifetime counted in frames. B about it
        is that about rest: it is no less than the error of a forecast, without an added model error.
        """
        if transient is None or self.transient is None:
            return steady
        return torch.add(steady, transient, alpha=math.exp(-seconds / (self.transient.lifetime * frame)))


def forward(transform: Transform, values: Tensor) -> Tensor:
    """Transform the variable; what is not finite becomes NaN."""
    values = values.nan_to_num(torch.nan, torch.nan, torch.nan)
    return values.clamp_min_(0).sqrt_() if transform == "square_root" else values


def backward(transform: Transform, values: Tensor) -> Tensor:
    """Return the variable in its own units."""
    return values.clamp_min(0).square() if transform == "square_root" else values
