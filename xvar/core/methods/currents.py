"""Currents from images of the sea surface temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from xvar.core.covariance import Diagonal, Matern, StreamPotential
from xvar.core.covariance.coast import Coast
from xvar.core.covariance.helmholtz import period_around
from xvar.core.dynamics import State
from xvar.core.grid import Grid
from xvar.core.methods.motion import Motion, cadence, carried, deviation, diagnostics, fitting, in_groups, scale_of
from xvar.core.minimize import LBFGS
from xvar.core.models.parcels import Drift, ImageAgainstLater
from xvar.core.norm import PseudoHuber
from xvar.core.observation import Observation
from xvar.core.posterior import Posterior, Sampling, degrees_of_freedom, standard_errors
from xvar.core.problem import Problem
from xvar.core.solve import CostHistory, Minimisation, minimisations, solve

CAUTION = 0.05  # share of the curvature of J_o in the inverse Hessian of the motion, and of its step tried first
CAUTION_SOURCE = 0.5  # and of the source
SHORTEST = 0.625  # wave of the motion and of the source over their length; shorter ones have 1 % of the power
RESIDUAL = 0.1  # of draws of the errors, which are within 10 % of exact ones at a quarter of the iterations


@dataclass(frozen=True)
class Currents:
    r"""4D-Var with model error for the currents at the end of a window of images.

    The control, at the time of the last image, is the motion w, its model error η, a smooth source s (such as heating
    by the sun) and the error e of the last image. Water is followed backward in time, and each image k is compared with
    later ones r at the former positions of the water at their grid points:

    .. math::

        J = \tfrac12 \|w\|^2_B + \tfrac12 \|\eta\|^2_Q + \tfrac12 \|s\|^2_{B_s} + \tfrac12 |e|^2 + \sum_{k, r, x}
        \rho\Bigl(\frac{y_k(X_{rk}) - y_r - (t_k - t_r) s - \sigma_r e_r}{\sqrt{n}\,\sigma_{rk}}\Bigr), \quad
        \dot X = w, \quad \dot w = \eta

    .. math::

        \sigma_r = \sigma_0 + \beta |\delta y_r|, \quad
        \sigma_{rk} = \sigma_0 + |\delta y_r| \sqrt{\beta^2 + (\sigma_u (t_k - t_r) / \Delta x)^2}

    with ρ the pseudo-Huber norm, and w a mean, a stream function and a potential. Motion that the images do not
    resolve, such as tides between daily images, displaces the water by :math:`\sigma_u` times the time between two
    images. The perfect model is a steady motion: at these scales the pressure gradient holds currents, which do not
    advect themselves. Windows without holes compare with the last image alone, r = 0: the others add no information,
    for twice the work. With clouds or land the r are all images up to `reach` later: every pair of images counts at the
    points that both see.
    """

    background_error: Any = None  #: B of the motion in m s-1 and metres, instead of that of the four numbers below.
    std: float = 0.6  #: Standard deviation of the motion at a point, in m/s.
    mean: float = 0.6  #: Standard deviation of its mean over the domain, in m/s.
    length: float = 8.0  #: Length of its Matérn correlation, in grid cells.
    potential_ratio: float = 0.1  #: Power of the potential over that of the stream function.
    model_error: float = 0.15  #: Change of the motion in a frame over `std`; Q is smooth as B. Zero: strong.
    source_std: float = 0.04  #: Standard deviation of the source, in the units of the image, in a frame.
    source_length: float = 20.0  #: In grid cells.
    error: float = 0.055  #: σ_0, in the units of the image.
    slope: float = 0.5  #: β, error of position in cells.
    unresolved: float = 0.04  #: σ_u, standard deviation of the motion that the images do not resolve, in m/s.
    correlated: float = 15.0  #: n, the number of comparisons that share one error.
    reach: int = 3  #: Images with holes are compared with so many later ones.
    threshold: float = 2.0  #: Threshold of the pseudo-Huber norm, in σ.
    coast: Coast = "free"  #: Correlations cross land, or no flow through the coast, see `NoFlowCovariance`.
    levels: tuple[int, ...] = (4, 2, 1)  #: See `solve`.
    minimizer: LBFGS = field(
        default_factory=lambda: LBFGS(
            max_evaluations=50, gtol=1e-3, ftol=5e-3, ftol_iterations=2, history_size=6, first_step=CAUTION
        )
    )
    cost_history: bool = False  #: Record J and its terms at every evaluation.
    sampling: Sampling | None = None  #: Draw errors of the analysis, see `Posterior`.

    def minimisations(self, grid: Grid) -> list[Minimisation]:
        """Return the minimisations of all levels."""
        return minimisations(fitting(self.levels, grid), self.minimizer)

    def forecast_error(self, seconds: float, frame: float) -> float:
        r"""Return the growth factor of the standard deviation of B from one window of a chain to the next.

        .. math:: w_b = w, \qquad B_{k+1} = B + t^2\, Q = (1 + (\gamma\, t / \Delta t)^2)\, B

        The background is the current at the end of the window before. Over the t seconds in between, B about rest grows
        by a constant change η, with Q as smooth as B and γ the `model_error`: the deviation of the change in a frame Δt
        over that of the motion. Source and error of the image start from zero in each window.
        """
        return math.hypot(1.0, self.model_error * seconds / frame)

    def problem(
        self, images: Tensor, seconds: Sequence[float], grid: Grid, guess: Tensor | None = None, elapsed: float = 0.0
    ) -> Problem:
        """Return the problem of a batch of windows.

        Images (window, frame, y, x), NaN if not observed, at times after the first frame; `guess` (window, 2, y, x) in
        m/s is the current at the end of the window before, `elapsed` seconds earlier, see `forecast_error`.
        """
        frame, cell = cadence(seconds), math.sqrt(math.prod(grid.spacing))
        period = period_around(grid, self.length * cell, max(self.levels))
        valid = images.isfinite()
        whole = bool(valid.all())
        filled = images if whole else torch.where(valid, images, 0.0)
        rest, nothing = (images.new_zeros(()).expand(len(images), count, *grid.shape) for count in (2, 1))
        background = {"velocity": rest if guess is None else guess, "source": nothing, "error": nothing}
        errors: dict[str, Any] = {
            "velocity": self._motion_error(self.forecast_error(elapsed, frame), cell, period)
            if self.background_error is None
            else self.background_error,
        }
        if self.model_error > 0:  # beside the motion, whose transform it shares
            background["model_error"] = rest
            errors["model_error"] = self._motion_error(self.model_error / frame, cell, period)
        errors["source"] = Matern(
            self.source_std / frame, self.source_length * cell, truncation=_share_of_waves(self.source_length)
        )
        errors["error"] = Diagonal(1.0)
        times = [time - seconds[-1] for time in reversed(seconds)]
        return Problem(
            grid=grid,
            dynamics=Drift(None if whole else self.reach),
            steps=tuple(end - begin for begin, end in pairwise(times)),
            background=background,
            background_error=errors,
            observations=self._observations(filled, valid, times, cell, whole=whole),
            held_errors=("model_error",) if self.model_error > 0 else (),
            curvature=self._curvature(filled, valid, times, grid),
        )

    def _observations(
        self, filled: Tensor, valid: Tensor, times: Sequence[float], cell: float, *, whole: bool
    ) -> tuple[Observation, ...]:
        """Return the comparisons of each image before the last with later ones; `times` by age, the last is zero."""
        shared = math.sqrt(self.correlated)
        # By age: the latest image comes first, as its parcels do in the state.
        compared = range(1 if whole else len(times) - 1)
        images = filled.flip(1)
        known = valid.new_ones(()).expand_as(images) if whole else valid.flip(1)
        difference = torch.cat([neighbour_difference(images[:, [age]], known[:, [age]]) for age in compared], dim=1)
        last_std = self.error + self.slope * difference[:, :1]
        masks = None if whole else known[:, 1:].to(images)
        observations = []
        for age in range(1, len(times)):
            ages = compared if whole else range(max(0, age - self.reach), age)
            later = slice(ages.start, ages.stop)
            elapsed = images.new_tensor([times[age] - times[one] for one in ages]).view(1, -1, 1, 1)
            operator = ImageAgainstLater(
                images[:, age, None],
                images[:, later],
                elapsed,
                error=self.error,
                difference=difference[:, later],
                slope=(self.unresolved / cell * elapsed).square().add(self.slope**2).sqrt(),
                error_std=last_std if 0 in ages else None,
                mask=None if masks is None else masks[:, age - 1, None],
                known=None if whole else known[:, later],
            )
            observations.append(
                Observation(
                    time=times[age],
                    operator=operator,
                    values=images.new_zeros(()).expand_as(images[:, later]),
                    std=images.new_full((), shared),
                    norm=PseudoHuber(self.threshold / shared),
                    valid=known[:, later],
                )
            )
        return tuple(observations)

    def _motion_error(self, factor: float, cell: float, period: tuple[float, ...]) -> StreamPotential:
        """Return B of the motion, its standard deviations multiplied by a factor."""
        return StreamPotential(
            self.std * factor,
            self.length * cell,
            self.mean * factor,
            potential_ratio=self.potential_ratio,
            truncation=_share_of_waves(self.length),
            period=period,
            coast=self.coast,
        )

    def _curvature(self, images: Tensor, valid: Tensor, times: Sequence[float], grid: Grid) -> dict[str, Tensor]:
        """Estimate the second derivative of J_o by motion, model error and source, (window, 1 or 2, 1, 1).

        That of comparisons with one image, the clearest (of equals the last), in place of the last image.
        """
        count = valid.flatten(2).sum(2)
        clearest = count.shape[1] - 1 - count.flip(1).argmax(1)
        rows = torch.arange(len(images), device=images.device)
        images, valid = (part[rows, clearest][:, None] for part in (images, valid))
        difference = neighbour_difference(images, valid)
        scale = grid.cells_per_metre(dtype=images.dtype, device=images.device).mean((-2, -1), keepdim=True).square()
        cell = math.sqrt(math.prod(grid.spacing))

        def slope(axis: int, precision: Tensor) -> Tensor:
            size = images.shape[axis] - 1
            both = valid.narrow(axis, 1, size) & valid.narrow(axis, 0, size)
            squared = torch.where(both, images.diff(dim=axis), 0.0).square()
            return (squared * precision.narrow(axis, 1, size)).mean((1, 2, 3))

        velocity, change, source = (images.new_zeros(()) for _ in range(3))
        for time in times[1:]:
            std = self.error + difference * math.hypot(self.slope, self.unresolved * time / cell)
            precision = valid / (std.square() * self.correlated)
            moved = CAUTION * torch.stack([slope(-1, precision), slope(-2, precision)], dim=1)[:, :, None, None]
            velocity = velocity + time**2 * moved
            change = change + time**4 / 4 * moved
            source = source + CAUTION_SOURCE * time**2 * precision.mean((1, 2, 3))[:, None, None, None]
        return {"velocity": velocity * scale, "model_error": change * scale, "source": source}

    @in_groups
    def analyse(
        self,
        frames: Tensor,
        seconds: Sequence[float],
        grid: Grid,
        guess: Tensor | None = None,
        seeds: Tensor | None = None,
        elapsed: float = 0.0,
    ) -> dict[str, Tensor]:
        """Analyse a batch of windows.

        Frames (window, frame, y, x) in the units of the variable, NaN if not observed; `seeds` (window,) of
        the `sampling`; the rest as in `problem`.

        Returns
        -------
        dict of Tensor (window, ...)
            ``analysis``, ``u``, ``v`` (window, step, y, x), ``observed`` and ``source`` (window, y, x), the latter per
            second; with model error ``u_forcing``, ``v_forcing`` (window, interval, y, x) in m/s²; ``image_scale``, the
            deviation of the images; the `diagnostics`; with `sampling` the `standard_errors` of motion, forcing and
            source.
        """
        whole = bool(frames.isfinite().all())
        values = torch.where(frames.isinf(), torch.nan, frames) if not whole and frames.isinf().any() else frames
        problem = self.problem(values, seconds, grid, guess, elapsed)
        cost_history = CostHistory(len(frames), self.minimisations(grid)) if self.cost_history else None
        # Iterations on coarse grids are cheap, and save as many on the finest.
        coarse = replace(self.minimizer, ftol=self.minimizer.ftol / 2)
        levels = fitting(self.levels, grid)
        result = solve(problem, self.minimizer, levels=levels, coarse=coarse, cost_history=cost_history)
        spread = deviation(values)
        count, flat = values[:, :-1].isfinite().flatten(1).sum(1), spread.flatten() == 0
        numbers = diagnostics([result], count, flat, cost_history=cost_history)
        state = result.state
        motion = Motion(state["velocity"], seconds[-1], state.get("model_error"))
        fields = _fields(state, seconds)
        errors = {}
        if self.sampling is not None and seeds is not None:
            sampling, space = replace(self.sampling, tolerance=RESIDUAL), result.cost.space
            posterior = Posterior(result.cost, result.minimum.control, sampling)
            states = (space.initial_state(space.fields(control)) for control in posterior.members(seeds))
            errors = standard_errors(fields, (_fields(one, seconds) for one in states), sampling)
            errors |= degrees_of_freedom(posterior.signals)
            del posterior, states
        del problem, result  # J gives its memory back
        std = self.error + self.slope * neighbour_difference(torch.nan_to_num(last := values[:, -1:]), last.isfinite())
        # Earlier images fill the holes of the last.
        last = torch.addcmul(last, std, state["error"])
        images, times = (last, seconds[-1:]) if whole else (torch.cat([values[:, :-1], last], dim=1), seconds)
        return {
            "analysis": carried(images, times, motion, seconds, grid),
            "observed": frames[:, -1],
            **fields,
            **errors,
            "image_scale": scale_of(spread).flatten(),
            **numbers,
        }


def _share_of_waves(length: float) -> float:
    """Return the share of the wavenumbers along an axis that a correlation length in cells needs."""
    return min(0.5, 2 / (SHORTEST * length))


def _fields(state: State, seconds: Sequence[float]) -> dict[str, Tensor]:
    """Return the motion at the times of the frames, its change in each interval, and the source."""
    motion = Motion(state["velocity"], seconds[-1], state.get("model_error"))
    velocity = torch.stack([motion.at(time) for time in seconds], dim=1)
    fields = {"u": velocity[:, :, 0], "v": velocity[:, :, 1], "source": state["source"][:, 0]}
    if motion.changing is not None:
        held = motion.changing[:, None].expand(-1, len(seconds) - 1, -1, -1, -1)
        fields |= {"u_forcing": held[:, :, 0], "v_forcing": held[:, :, 1]}
    return fields


def neighbour_difference(image: Tensor, known: Tensor) -> Tensor:
    """Return the norm of the mean differences to the known neighbours along both axes."""
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
