"""Currents from images of the temperature of the sea: the problem that is solved where the user states no other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from xvar.core.covariance import Diagonal, Matern, StreamPotential
from xvar.core.covariance.stream_potential import period_around
from xvar.core.drift import Drift, ImageAgainstLast
from xvar.core.grid import Grid
from xvar.core.minimize import LBFGS
from xvar.core.motion import carried, costs_of, deviation, fitting, in_groups, status_of
from xvar.core.observation import Observation
from xvar.core.problem import Problem
from xvar.core.solve import solve

CAUTION = 0.05  # share of the curvature of J_o that is believed by the motion beforehand ...
CAUTION_SOURCE = 0.5  # ... and by the source


@dataclass(frozen=True)
class Currents:
    r"""4D-Var with model error for the currents at the end of a window of images.

    The control, at the time of the last image, is the motion w, its model error η, a smooth source s (the sun's heating
    is no motion) and the error e of the last image. Water is followed backward in time, and each earlier image is
    compared with the last one where the water was:

    .. math::

        J = \tfrac12 \|w\|^2_B + \tfrac12 \|\eta\|^2_Q + \tfrac12 \|s\|^2_{B_s} + \tfrac12 |e|^2 + \sum_{k, x}
        \rho\Bigl(\frac{y_k(X_k) - y_0 - \sigma e - t_k s}{\sqrt{n}\,\sigma}\Bigr), \quad
        \dot X = w, \quad \dot w = \eta, \quad \sigma = \sigma_0 + \beta |\delta y_0|

    with ρ the pseudo-Huber norm. w is a mean, a stream function and a potential. Currents do not carry themselves at
    these scales, since pressure holds them: the perfect model is a steady motion.

    Parameters
    ----------
    std, mean : float
        Standard deviation of the motion at a point, and of its mean over the domain, in m/s.
    length : float
        Of its Matérn correlation, in grid cells.
    potential_ratio : float
        Power of the potential over that of the stream function.
    model_error : float
        Standard deviation of the change of the motion from frame to frame, over that of the motion; Q is smooth as B.
        Zero is the strong constraint.
    source_std : float
        Of the source, in the units of the image, in a frame.
    source_length : float
        In grid cells.
    error : float
        :math:`\sigma_0`, in the units of the image.
    slope : float
        β, of the difference between neighbouring pixels: what positions are not exact for.
    correlated : float
        n, the number of comparisons that share one error.
    threshold : float
        Of the pseudo-Huber norm, in σ.
    levels : tuple of int
        See `solve`.
    minimizer : LBFGS
    """

    std: float = 0.6
    mean: float = 0.6
    length: float = 8.0
    potential_ratio: float = 0.2
    model_error: float = 0.15
    source_std: float = 0.04
    source_length: float = 20.0
    error: float = 0.055
    slope: float = 0.5
    correlated: float = 15.0
    threshold: float = 2.0
    levels: tuple[int, ...] = (4, 2, 1)
    minimizer: LBFGS = field(default_factory=lambda: LBFGS(evaluations=50, gradient=1e-3, decrease=5e-3))

    def problem(self, images: Tensor, seconds: Sequence[float], grid: Grid) -> Problem:
        """The problem of a batch of windows.

        Parameters
        ----------
        images : Tensor (window, frame, y, x)
            NaN where nothing was observed.
        seconds : sequence of float
            Time of each frame after the first.
        grid : Grid
        """
        frame, cell = (seconds[-1] - seconds[0]) / (len(seconds) - 1), math.sqrt(math.prod(grid.spacing))
        period = period_around(grid, self.length * cell, max(self.levels))
        last, known, std, last_std = self._last_image(images)
        nothing = torch.zeros_like(last)
        background = {
            "velocity": images.new_zeros(len(images), 2, *grid.shape),
            "tracer": nothing,
            "source": nothing,
            "error": nothing,
        }
        errors: dict[str, Any] = {
            "velocity": self._motion_error(1.0, cell, period),
            "source": Matern(self.source_std / frame, self.source_length * cell, truncation=0.3),
            "error": Diagonal(1.0),
        }
        if self.model_error > 0:
            background["model_error"] = torch.zeros_like(background["velocity"])
            errors["model_error"] = self._motion_error(self.model_error / frame, cell, period)
        shared = math.sqrt(self.correlated)
        valid = images.isfinite()
        filled = torch.where(valid, images, torch.zeros_like(images))
        whole = bool(valid.all())
        observations = tuple(
            Observation(
                time=seconds[-1 - age] - seconds[-1],
                operator=ImageAgainstLast(
                    filled[:, -1 - age, None],
                    last,
                    std,
                    last_std,
                    mask=None if whole else valid[:, -1 - age, None].to(last),
                    known=None if whole else known.to(last),
                ),
                values=torch.where(known, nothing, torch.nan),
                std=last.new_full((), shared),
                threshold=self.threshold / shared,
            )
            for age in range(1, len(seconds))
        )
        times = [0.0, *(observation.time for observation in observations)]
        return Problem(
            grid=grid,
            dynamics=Drift(),
            steps=tuple(end - begin for begin, end in pairwise(times)),
            background=background,
            background_error=errors,
            observations=observations,
            held_errors=("model_error",) if self.model_error > 0 else (),
            curvature=self._curvature(last, known, std, times, grid),
        )

    def _motion_error(self, factor: float, cell: float, period: tuple[float, ...]) -> StreamPotential:
        """B of the motion, its standard deviations multiplied by a factor."""
        return StreamPotential(
            self.std * factor,
            self.length * cell,
            self.mean * factor,
            potential_ratio=self.potential_ratio,
            period=period,
        )

    def _last_image(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The last image, where it is known, σ of the comparisons with it, and its own σ.

        Its holes are filled with what was there before, which may be wrong by as much as the images vary.
        """
        valid = images.isfinite()
        filled = torch.where(valid, images, torch.zeros_like(images))
        last, known = filled[:, -1:], valid[:, -1:]
        std = self.error + self.slope * neighbour_difference(last, known)
        last_std, spread = std, deviation(images).clamp_min(self.error).expand_as(std)
        for index in range(images.shape[1] - 2, -1, -1):
            here = ~known & valid[:, index, None]
            last = torch.where(here, filled[:, index, None], last)
            last_std = torch.where(here, spread, last_std)
            known = known | here
        return last, known, std, last_std

    def _curvature(
        self, last: Tensor, known: Tensor, std: Tensor, times: Sequence[float], grid: Grid
    ) -> dict[str, Tensor]:
        """About the second derivative of J_o by motion, model error and source, (window, 1 or 2, 1, 1)."""
        per_cell = grid.cells_per_metre(dtype=last.dtype, device=last.device).mean((-2, -1), keepdim=True)
        precision = known / (std.square() * self.correlated)

        def slope(axis: int) -> Tensor:
            size = last.shape[axis] - 1
            both = known.narrow(axis, 1, size) & known.narrow(axis, 0, size)
            squared = torch.where(both, last.diff(dim=axis), 0.0).square()
            return (squared * precision.narrow(axis, 1, size)).mean((-2, -1), keepdim=True)

        gradient = CAUTION * torch.cat([slope(-1), slope(-2)], dim=1) * per_cell.square()
        second, fourth = (sum(time**power for time in times) for power in (2, 4))
        return {
            "velocity": gradient * second,
            "model_error": gradient * fourth / 4,
            "source": CAUTION_SOURCE * precision.mean((-2, -1), keepdim=True) * second,
        }

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
            ``analysis``, ``u``, ``v`` (window, step, y, x), ``observed`` and ``source`` (window, y, x), the latter per
            second; with model error ``u_forcing``, ``v_forcing`` (window, interval, y, x) in m/s²; ``image_scale``, the
            deviation of the images; ``cost`` and its terms (window, stage), ``gradient_norm``, ``evaluations``,
            ``number_of_observations`` and ``status`` (window,).
        """
        return in_groups(frames, lambda part, _: self._analyse(part, seconds, grid))

    def _analyse(self, frames: Tensor, seconds: Sequence[float], grid: Grid) -> dict[str, Tensor]:
        """Analyse windows that are alike."""
        values = torch.where(frames.isfinite(), frames, torch.nan)
        problem = self.problem(values, seconds, grid)
        result = solve(problem, self.minimizer, levels=fitting(self.levels, grid))
        state = result.trajectory[0]
        motion = _Changing(state["velocity"], state.get("model_error"), seconds[-1])
        velocity = torch.stack([motion.at(time) for time in seconds], dim=1)
        *_, last_std = self._last_image(values)
        analysed = torch.addcmul(values[:, -1:], last_std, state["error"])
        images = torch.cat([values[:, :-1], analysed], dim=1)
        spread = deviation(values)
        count = values[:, :-1].isfinite().flatten(1).sum(1)
        forcing = {}
        if "model_error" in state:
            held = state["model_error"][:, None].expand(-1, len(seconds) - 1, -1, -1, -1)
            forcing = {"u_forcing": held[:, :, 0], "v_forcing": held[:, :, 1]}
        return {
            "analysis": carried(images, list(seconds), motion, seconds, grid),
            "u": velocity[:, :, 0],
            "v": velocity[:, :, 1],
            "observed": frames[:, -1],
            "source": state["source"][:, 0],
            **forcing,
            "image_scale": torch.where(spread > 0, spread, torch.ones_like(spread)).flatten(),
            **costs_of(result),
            "gradient_norm": result.minimum.gradient_norm,
            "evaluations": result.minimum.evaluations,
            "number_of_observations": count,
            "status": status_of(result, (spread.flatten() == 0) | (count == 0)),
        }


@dataclass(frozen=True)
class _Changing:
    """A motion (window, 2, y, x) at a reference time that changes steadily, or not at all."""

    velocity: Tensor
    change: Tensor | None
    reference: float

    def at(self, time: float) -> Tensor:
        """The motion at a time."""
        if self.change is None:
            return self.velocity
        return torch.add(self.velocity, self.change, alpha=time - self.reference)

    def between(self, begin: float, end: float) -> Tensor:
        """The motion on average between two times."""
        return self.at(0.5 * (begin + end))


def neighbour_difference(image: Tensor, known: Tensor) -> Tensor:
    """Root of the summed squares of the mean differences to the neighbours along both axes, where they are known."""
    total = torch.zeros_like(image)
    for axis in (-1, -2):
        size = image.shape[axis] - 1
        both = known.narrow(axis, 1, size) & known.narrow(axis, 0, size)
        difference = torch.where(both, image.diff(dim=axis).abs(), 0.0)
        edge = torch.zeros_like(image.narrow(axis, 0, 1))
        summed, number = (
            torch.cat([part, edge], dim=axis) + torch.cat([edge, part], dim=axis)
            for part in (difference, both.to(image.dtype))
        )
        total = total + (summed / number.clamp_min(1)).square()
    return total.sqrt()
