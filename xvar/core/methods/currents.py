"""Currents from images of the temperature of the sea: the problem that is solved where the user states no other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from xvar.core.cost_history import CostHistory, Minimisation, minimisations
from xvar.core.covariance import Diagonal, Matern, StreamPotential
from xvar.core.covariance.coast import Coast
from xvar.core.covariance.stream_potential import period_around
from xvar.core.grid import Grid
from xvar.core.methods.image_motion import carried, costs_of, deviation, fitting, in_groups, status_of
from xvar.core.minimize import LBFGS
from xvar.core.models.drift import Drift, ImageAgainstLater
from xvar.core.observation import Observation
from xvar.core.problem import Problem
from xvar.core.solve import solve

CAUTION = 0.05  # share of the curvature of J_o that is believed by the motion beforehand ...
CAUTION_SOURCE = 0.5  # ... and by the source


@dataclass(frozen=True)
class Currents:
    r"""4D-Var with model error for the currents at the end of a window of images.

    The control, at the time of the last image, is the motion w, its model error η, a smooth source s (the sun's heating
    is no motion) and the error e of the last image. Water is followed backward in time, and each image k is compared
    with later ones r where the water was that is at their grid points:

    .. math::

        J = \tfrac12 \|w\|^2_B + \tfrac12 \|\eta\|^2_Q + \tfrac12 \|s\|^2_{B_s} + \tfrac12 |e|^2 + \sum_{k, r, x}
        \rho\Bigl(\frac{y_k(X_{rk}) - y_r - (t_k - t_r) s - \sigma_r e_r}{\sqrt{n}\,\sigma_r}\Bigr), \quad
        \dot X = w, \quad \dot w = \eta, \quad \sigma_r = \sigma_0 + \beta |\delta y_r|

    Windows without a hole compare with the last image alone, r = 0: it says what the others would, for half the work.
    Where there are clouds (or land) the r are all images up to `reach` later, so that none of them, the last one
    included, must be clear: what two images both see counts, whatever the others do.

    with ρ the pseudo-Huber norm. w is a mean, a stream function and a potential. Currents do not carry themselves at
    these scales, since pressure holds them: the perfect model is a steady motion.

    Parameters
    ----------
    background_error : specification, optional
        B of the motion in m s-1 and metres, instead of that of `std`, `mean`, `length` and `potential_ratio`.
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
    reach : int
        Images with holes are compared with so many later ones.
    threshold : float
        Of the pseudo-Huber norm, in σ.
    coast : {"free", "no_flow"}
        Whether the motion goes on over land as if it were sea, or nothing flows through the coast; see
        `xvar.core.covariance.coast.NoFlowCovariance`.
    levels : tuple of int
        See `solve`.
    minimizer : LBFGS
    cost_history : bool
        Whether J is told by evaluation.
    """

    background_error: Any = None
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
    reach: int = 3
    threshold: float = 2.0
    coast: Coast = "free"
    levels: tuple[int, ...] = (4, 2, 1)
    minimizer: LBFGS = field(default_factory=lambda: LBFGS(max_evaluations=50, gtol=1e-3, ftol=5e-3))
    cost_history: bool = False

    def minimisations(self, grid: Grid) -> list[Minimisation]:
        """Those of all levels."""
        return minimisations(fitting(self.levels, grid), self.minimizer)

    def forecast_error(self, seconds: float, frame: float) -> float:
        r"""By what the standard deviation of the motion's error grows from one window of a chain to the next.

        A window that goes on from another has the current at the end of that one as its background, which the model
        keeps as it is: :math:`w_b = w`. B, the covariance of the current about rest, grows by the model error over the
        time in between, a change η that is held:

        .. math:: B_{k+1} = B + t^2\, Q = (1 + (\gamma\, t / \Delta t)^2)\, B

        for Q is smooth as B and γ is `model_error`, the deviation of the change in a frame over that of the motion.
        Source and error of the image begin from nothing in each window: no forecast is made of them.

        Parameters
        ----------
        seconds, frame : float
            t, from the end of the window before to the end of this one, and Δt, the time between frames.
        """
        return math.hypot(1.0, self.model_error * seconds / frame)

    def problem(
        self,
        images: Tensor,
        seconds: Sequence[float],
        grid: Grid,
        guess: Tensor | None = None,
        elapsed: float = 0.0,
    ) -> Problem:
        """The problem of a batch of windows.

        Parameters
        ----------
        images : Tensor (window, frame, y, x)
            NaN where nothing was observed.
        seconds : sequence of float
            Time of each frame after the first.
        grid : Grid
        guess : Tensor (window, 2, y, x), optional
            The current at the end of the window before, in m/s.
        elapsed : float
            Seconds since then, see `forecast_error`.
        """
        frame, cell = (seconds[-1] - seconds[0]) / (len(seconds) - 1), math.sqrt(math.prod(grid.spacing))
        period = period_around(grid, self.length * cell, max(self.levels))
        valid = images.isfinite()
        filled = torch.where(valid, images, torch.zeros_like(images))
        whole = bool(valid.all())
        std = self.error + self.slope * neighbour_difference(filled, valid)
        rest = images.new_zeros(len(images), 2, *grid.shape)
        nothing = torch.zeros_like(images[:, :1])
        background = {"velocity": rest if guess is None else guess, "source": nothing, "error": nothing}
        errors: dict[str, Any] = {
            "velocity": self._motion_error(self.forecast_error(elapsed, frame), cell, period)
            if self.background_error is None
            else self.background_error,
            "source": Matern(self.source_std / frame, self.source_length * cell, truncation=0.3),
            "error": Diagonal(1.0),
        }
        if self.model_error > 0:
            background["model_error"] = rest
            errors["model_error"] = self._motion_error(self.model_error / frame, cell, period)
        shared = math.sqrt(self.correlated)
        observations = []
        times = [time - seconds[-1] for time in reversed(seconds)]
        for age in range(1, len(times)):
            # The parcels of the latest image come first, as they do in the state.
            ages = self._later(age, whole)
            later = [-1 - one for one in ages]
            gone = images.new_tensor([times[age] - times[one] for one in ages]).view(1, -1, 1, 1)
            observations.append(
                Observation(
                    time=times[age],
                    operator=ImageAgainstLater(
                        filled[:, -1 - age, None],
                        filled[:, later],
                        std[:, later],
                        gone,
                        erring=0 in ages,
                        mask=None if whole else valid[:, -1 - age, None].to(images),
                        known=None if whole else valid[:, later].to(images),
                    ),
                    values=torch.where(valid[:, later], 0.0, torch.nan).to(images),
                    std=images.new_full((), shared),
                    threshold=self.threshold / shared,
                )
            )
        return Problem(
            grid=grid,
            dynamics=Drift(None if whole else self.reach),
            steps=tuple(end - begin for begin, end in pairwise(times)),
            background=background,
            background_error=errors,
            observations=tuple(observations),
            held_errors=("model_error",) if self.model_error > 0 else (),
            curvature=self._curvature(filled, valid, std, times, grid),
        )

    def _motion_error(self, factor: float, cell: float, period: tuple[float, ...]) -> StreamPotential:
        """B of the motion, its standard deviations multiplied by a factor."""
        return StreamPotential(
            self.std * factor,
            self.length * cell,
            self.mean * factor,
            potential_ratio=self.potential_ratio,
            period=period,
            coast=self.coast,
        )

    def _later(self, age: int, whole: bool) -> Sequence[int]:
        """The ages of the images that the one of an age is compared with."""
        return (0,) if whole else range(max(0, age - self.reach), age)

    def _curvature(
        self, images: Tensor, valid: Tensor, std: Tensor, times: Sequence[float], grid: Grid
    ) -> dict[str, Tensor]:
        """About the second derivative of J_o by motion, model error and source, (window, 1 or 2, 1, 1).

        It is that of comparisons with the last image alone, if it looked as the clearest one, of which the last counts.
        """
        count = valid.flatten(2).sum(2)
        clearest = count.shape[1] - 1 - count.flip(1).argmax(1)
        rows = torch.arange(len(images), device=images.device)
        images, valid, std = (part[rows, clearest][:, None] for part in (images, valid, std))
        per_cell = grid.cells_per_metre(dtype=images.dtype, device=images.device).mean((-2, -1), keepdim=True)
        precision = valid / (std.square() * self.correlated)

        def slope(axis: int) -> Tensor:
            size = images.shape[axis] - 1
            both = valid.narrow(axis, 1, size) & valid.narrow(axis, 0, size)
            squared = torch.where(both, images.diff(dim=axis), 0.0).square()
            return (squared * precision.narrow(axis, 1, size)).mean((1, 2, 3))

        gradient = CAUTION * torch.stack([slope(-1), slope(-2)], dim=1)[:, :, None, None] * per_cell.square()
        second, fourth = (sum(time**power for time in times) for power in (2, 4))
        return {
            "velocity": gradient * second,
            "model_error": gradient * fourth / 4,
            "source": CAUTION_SOURCE * precision.mean((1, 2, 3))[:, None, None, None] * second,
        }

    def analyse(
        self,
        frames: Tensor,
        seconds: Sequence[float],
        grid: Grid,
        guess: Tensor | None = None,
        elapsed: float = 0.0,
    ) -> dict[str, Tensor]:
        """Analyse a batch of windows.

        Parameters
        ----------
        frames : Tensor (window, frame, y, x)
            The variable in its own units, NaN where nothing was observed.
        seconds : sequence of float
            Time of each frame after the first.
        grid : Grid
        guess, elapsed
            See `problem`.

        Returns
        -------
        dict of Tensor (window, ...)
            ``analysis``, ``u``, ``v`` (window, step, y, x), ``observed`` and ``source`` (window, y, x), the latter per
            second; with model error ``u_forcing``, ``v_forcing`` (window, interval, y, x) in m/s²; ``image_scale``, the
            deviation of the images; ``cost`` and its terms (window, stage), ``gradient_norm``, ``evaluations``,
            ``number_of_observations`` and ``status`` (window,); of a cost history, what `CostHistory.numbers` gives.
        """
        return in_groups(frames, lambda part, _, own: self._analyse(part, seconds, grid, own, elapsed), guess)

    def _analyse(
        self, frames: Tensor, seconds: Sequence[float], grid: Grid, guess: Tensor | None, elapsed: float
    ) -> dict[str, Tensor]:
        """Analyse windows that are alike."""
        values = torch.where(frames.isfinite(), frames, torch.nan)
        problem = self.problem(values, seconds, grid, guess, elapsed)
        cost_history = CostHistory(len(frames), self.minimisations(grid)) if self.cost_history else None
        result = solve(problem, self.minimizer, levels=fitting(self.levels, grid), cost_history=cost_history)
        state = result.trajectory[0]
        motion = _Changing(state["velocity"], state.get("model_error"), seconds[-1])
        velocity = torch.stack([motion.at(time) for time in seconds], dim=1)
        std = self.error + self.slope * neighbour_difference(torch.nan_to_num(last := values[:, -1:]), last.isfinite())
        images = torch.cat([values[:, :-1], torch.addcmul(last, std, state["error"])], dim=1)
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
            **({} if cost_history is None else cost_history.numbers()),
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
