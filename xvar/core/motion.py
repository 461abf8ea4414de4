"""Motion from a sequence of images: the problem that is solved where the user states no other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from xvar.core.covariance import Matern, Specification, Tikhonov
from xvar.core.grid import Grid
from xvar.core.interpolate import sample
from xvar.core.minimize import LBFGS, Reason
from xvar.core.observation import Observation
from xvar.core.parcels import ImageAtParcels, Parcels
from xvar.core.problem import Problem
from xvar.core.solve import Analysis, solve

Transform = Literal["none", "square_root"]


@dataclass(frozen=True)
class Source:
    """Growth and decay of one scale.

    Parameters
    ----------
    std : float
        Standard deviation in a frame, over that of the images.
    length : float
        Of its Matérn correlation, in grid cells.
    lifetime : float
        In frames.
    """

    std: float
    length: float
    lifetime: float


@dataclass(frozen=True)
class ImageMotion:
    r"""4D-Var for the motion, and the growth, at the end of a window of images.

    The control is the motion w and the sources s at the time of the last image. Parcels are followed backward in time
    from the points of that image, and each earlier image is compared with what they were:

    .. math::

        J(w, s) = \tfrac12 \|w\|^2_{B_w} + \tfrac12 \|s\|^2_{B_s}
            + \sum_k a_k \sum_x \rho\Bigl(\frac{y_{-k}(X_{-k}(x)) - I_{-k}(x)}{\sigma}\Bigr), \quad
        \dot X = w(X), \quad \dot I = s, \quad I_0 = y_0, \quad \rho(r) = c^2 (\sqrt{1 + (r/c)^2} - 1)

    with images scaled to unit standard deviation in each window. Lengths are in grid cells and times in frames, for the
    scales that images resolve and the errors that they have go with both.

    Parameters
    ----------
    transform : {"none", "square_root"}
        What is compared: the variable, or its root, whose error varies less where it rains.
    gradient, curvature : float
        Weights of the squared gradient and curvature of the displacement in cells per frame, see `Tikhonov`.
    mean : float
        Standard deviation of the mean displacement over the domain, in cells per frame.
    sources : tuple of Source
        Growth and decay; without any, what parcels carry stays as it is.
    ages : tuple of float
        Weight a_k of the image k frames before the last.
    error : float
        σ, over the standard deviation of the images.
    threshold : float
        c, in σ.
    truncation : float
        Share of the wavenumbers that the control holds, see `Tikhonov`.
    levels : tuple of int
        See `solve`.
    minimizer : LBFGS
    """

    transform: Transform = "none"
    gradient: float = 25.0
    curvature: float = 250.0
    mean: float = 30.0
    sources: tuple[Source, ...] = ()
    ages: tuple[float, ...] = (1.0,)
    error: float = 0.2
    threshold: float = 1.0
    truncation: float = 0.5
    levels: tuple[int, ...] = (8, 4, 2, 1)
    minimizer: LBFGS = field(default_factory=lambda: LBFGS(evaluations=30, gradient=1e-3, decrease=2e-3, memory=8))

    def problem(self, images: Tensor, seconds: Sequence[float], grid: Grid) -> Problem:
        """The problem of a batch of windows.

        Parameters
        ----------
        images : Tensor (window, frame, y, x)
            Of unit standard deviation; NaN where nothing was observed.
        seconds : sequence of float
            Time of each frame after the first.
        grid : Grid
        """
        frame = frame_interval(seconds)
        cell = math.sqrt(math.prod(grid.spacing))
        last = images[:, -1:]
        observed = last.isfinite()
        nothing = torch.zeros_like(last)
        background = {
            "velocity": images.new_zeros(len(images), 2, *grid.shape),
            "tracer": torch.where(observed, last, nothing),
        }
        errors: dict[str, Specification] = {"velocity": self.velocity_error(frame, grid.spacing)}
        for name, source in self._named():
            background[name] = nothing
            errors[name] = Matern(source.std / frame, source.length * cell, truncation=self.truncation)
        observations = [
            Observation(
                time=seconds[-1 - age] - seconds[-1],
                operator=ImageAtParcels(images[:, -1 - age, None]),
                values=torch.where(observed, nothing, torch.nan),
                std=torch.full((), self.error / math.sqrt(weight), dtype=images.dtype, device=images.device),
                threshold=self.threshold * math.sqrt(weight),
            )
            for age, weight in enumerate(self.ages[: len(seconds) - 1], start=1)
            if weight > 0
        ]
        times = [0.0, *(observation.time for observation in observations)]
        return Problem(
            grid=grid,
            dynamics=Parcels({name: source.lifetime * frame for name, source in self._named()}),
            steps=tuple(end - begin for begin, end in pairwise(times)),
            background=background,
            background_error=errors,
            observations=tuple(observations),
            curvature=self._curvature(background["tracer"], grid, frame),
        )

    def velocity_error(self, frame: float, spacing: tuple[float, ...]) -> Tikhonov:
        """B of the motion in m/s on a grid of this spacing in metres, with frames so many seconds apart."""
        cell = math.sqrt(math.prod(spacing))
        return Tikhonov(
            gradient=self.gradient * frame**2,
            curvature=self.curvature * (frame * cell) ** 2,
            mean_std=self.mean * cell / frame,
            truncation=self.truncation,
        )

    def _named(self) -> list[tuple[str, Source]]:
        return [(f"source_{index}", source) for index, source in enumerate(self.sources)]

    def _curvature(self, tracer: Tensor, grid: Grid, frame: float) -> dict[str, Tensor]:
        """About the second derivative of J_o by the motion, (window, 2, 1, 1), and by each source."""
        quadratic = 0.3 / self.error**2  # the share that lies where the pseudo-Huber norm is quadratic
        weights = list(enumerate(self.ages, start=1))
        along_x = tracer.diff(dim=-1).square().mean((-2, -1)) / grid.spacing[1] ** 2
        along_y = tracer.diff(dim=-2).square().mean((-2, -1)) / grid.spacing[0] ** 2
        moved = quadratic * frame**2 * sum(weight * age**2 for age, weight in weights)
        curvature = {"velocity": moved * torch.cat([along_x, along_y], dim=1)[..., None, None]}
        for name, source in self._named():
            lived = [source.lifetime * (1 - math.exp(-age / source.lifetime)) for age, _ in weights]
            grown = quadratic * frame**2 * sum(w * t**2 for (_, w), t in zip(weights, lived, strict=True))
            curvature[name] = tracer.new_full((1, 1, 1, 1), grown)
        return curvature

    def analyse(self, frames: Tensor, seconds: Sequence[float], grid: Grid) -> dict[str, Tensor]:
        """Analyse a batch of windows.

        Parameters
        ----------
        frames : Tensor (window, frame, y, x)
            The variable in its own units, NaN where nothing was observed.
        seconds : sequence of float
            Time of each frame after the first.
        grid : Grid

        Returns
        -------
        dict of Tensor (window, ...)
            ``analysis``, ``u``, ``v`` (window, step, y, x), ``observed`` (window, y, x), ``growth`` (window, source, y,
            x), of the compared variable in a frame over its deviation, ``image_scale``, that deviation in the units of
            the variable, ``cost`` and its terms (window, stage), ``gradient_norm``, ``evaluations``,
            ``number_of_observations`` and ``status`` (window,).
        """
        values = forward(self.transform, torch.where(frames.isfinite(), frames, torch.nan))
        spread = deviation(values)
        scale = torch.where(spread > 0, spread, torch.ones_like(spread))
        problem = self.problem(values / scale, seconds, grid)
        result = solve(problem, self.minimizer, levels=fitting(self.levels, grid))
        velocity = result.trajectory[0]["velocity"]
        images = self._carried(values, velocity, seconds, problem)
        steps = len(seconds)
        count = problem.number_of_observations()
        flat = (spread.flatten() == 0) | (count == 0)
        state = result.trajectory[0]
        sources = [state[name] * frame_interval(seconds) for name, _ in self._named()]
        return {
            "analysis": backward(self.transform, images),
            "u": velocity[:, :1].expand(-1, steps, -1, -1),
            "v": velocity[:, 1:].expand(-1, steps, -1, -1),
            "observed": frames[:, -1],
            "growth": torch.cat(sources, dim=1) if sources else velocity[:, :0],
            "image_scale": backward(self.transform, scale).flatten(),
            **costs_of(result),
            "gradient_norm": result.minimum.gradient_norm,
            "evaluations": result.minimum.evaluations,
            "number_of_observations": count,
            "status": status_of(result, flat),
        }

    def _carried(self, values: Tensor, velocity: Tensor, seconds: Sequence[float], problem: Problem) -> Tensor:
        """The last image along the motion to every time of the window; its holes are filled from earlier ones."""
        follow = Parcels().bind(problem.grid, dtype=values.dtype, device=values.device)
        position = follow.start({"velocity": velocity})["position"]
        last = values[:, -1:]
        for index in range(len(seconds) - 2, -1, -1):
            if bool(last.isfinite().all()):
                break
            position = follow.follow(velocity, position, seconds[index] - seconds[index + 1])
            last = torch.where(last.isfinite(), last, sample(values[:, index, None], position))
        position = follow.start({"velocity": velocity})["position"]
        images = [last]
        for index in range(len(seconds) - 2, -1, -1):
            # A value that is at a grid point now is where the motion takes it by the end of the window.
            position = follow.follow(velocity, position, seconds[index + 1] - seconds[index])
            images.append(sample(last, position))
        return torch.cat(images[::-1], dim=1)


def frame_interval(seconds: Sequence[float]) -> float:
    """Mean time between the frames of a window, in seconds."""
    return (seconds[-1] - seconds[0]) / (len(seconds) - 1)


def forward(transform: Transform, values: Tensor) -> Tensor:
    """The variable as it is compared."""
    return values.clamp_min(0).sqrt() if transform == "square_root" else values


def backward(transform: Transform, values: Tensor) -> Tensor:
    """The variable in its own units."""
    return values.clamp_min(0).square() if transform == "square_root" else values


def fitting(levels: Sequence[int], grid: Grid) -> tuple[int, ...]:
    """The levels whose grids still have 8 points a side."""
    return tuple(level for level in levels if level == 1 or min(grid.shape) >= 8 * level)


def deviation(values: Tensor) -> Tensor:
    """Standard deviation of what was observed in each window (window, 1, 1, 1)."""
    valid = values.isfinite()
    clean = torch.where(valid, values, torch.zeros_like(values)).flatten(1)
    count = valid.flatten(1).sum(1).clamp_min(1)
    mean = clean.sum(1) / count
    variance = torch.where(valid.flatten(1), (clean - mean[:, None]).square(), torch.zeros_like(clean)).sum(1) / count
    return variance.sqrt()[:, None, None, None]


def costs_of(result: Analysis) -> dict[str, Tensor]:
    """J and its terms at the background and at the analysis, (window, 2)."""
    costs = {
        f"cost_{name}": torch.stack([before, result.cost_analysis[name]], dim=1)
        for name, before in result.cost_background.items()
    }
    first, *others = costs.values()
    return {"cost": sum(others, first), **costs}


def status_of(result: Analysis, flat: Tensor) -> Tensor:
    """What became of each window, by the numbers of the output contract."""
    reason = result.minimum.reason
    status = torch.full_like(reason, 1)
    status[reason == Reason.EVALUATIONS] = 2
    status[reason == Reason.DIVERGED] = 4
    status[flat] = 3
    return status
