"""Motion from a sequence of images: the problem that is solved where the user states no other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from xvar.core.cost_history import CostHistory, Minimisation, minimisations
from xvar.core.covariance import Matern, Tikhonov
from xvar.core.grid import Grid, prolong
from xvar.core.interpolate import sample
from xvar.core.methods.correlation import displacement
from xvar.core.methods.past_errors import is_inside, past_errors
from xvar.core.minimize import LBFGS, Reason
from xvar.core.models.parcels import ImageAtParcels, Parcels, compose_displacements, decay_integral
from xvar.core.observation import Observation
from xvar.core.problem import Problem
from xvar.core.solve import Analysis, solve
from xvar.errors import Status

Transform = Literal["none", "square_root"]

# Where a minimisation ends early is a matter of rounding. Coarse grids cost little: there it goes on until that is of
# no account, and the finer ones start next to the minimum. A steady motion that a transient follows need not reach it.
COARSE = LBFGS(max_evaluations=30, gtol=1e-3, ftol=3e-4, history_size=8)
ALONE = LBFGS(max_evaluations=60, gtol=1e-3, ftol=3e-4, history_size=8)
STEADY = LBFGS(max_evaluations=30, gtol=1e-3, ftol=2e-3, history_size=8)
TRANSIENT = LBFGS(max_evaluations=30, gtol=1e-3, ftol=1e-3, history_size=8)
QUADRATIC = 0.3  # share of the comparisons in which the pseudo-Huber norm is quadratic, about


@dataclass(frozen=True)
class Smoothness:
    """Prior of a motion, in grid cells and frames.

    Parameters
    ----------
    gradient, curvature : float
        Weights of the squared gradient and curvature of the displacement in a frame, see `Tikhonov`.
    mean : float
        Standard deviation of its mean over the domain.
    """

    gradient: float
    curvature: float
    mean: float = 30.0

    def in_metres(self, frame: float, spacing: tuple[float, ...], truncation: float) -> Tikhonov:
        """B of a velocity in m/s, for frames so many seconds apart and cells of so many metres."""
        cell = math.sqrt(math.prod(spacing))
        return Tikhonov(
            gradient=self.gradient * frame**2,
            curvature=self.curvature * (frame * cell) ** 2,
            mean_std=self.mean * cell / frame,
            truncation=truncation,
        )


@dataclass(frozen=True)
class Transient:
    """What the newest pair of images tells beyond the steady motion, in grid cells and frames.

    Parameters
    ----------
    smoothness : Smoothness
        Prior of the transient motion.
    lifetime : float
        With which it fades.
    source_std, source_length, source_lifetime : float
        Growth and decay of what the parcels carry: standard deviation in a frame over that of the images, length of its
        Matérn correlation, and lifetime.
    levels : tuple of int
        See `solve`.
    """

    smoothness: Smoothness
    lifetime: float
    source_std: float
    source_length: float
    source_lifetime: float
    levels: tuple[int, ...] = (2, 1)


@dataclass(frozen=True)
class ImageMotion:
    r"""4D-Var for the motion, and the growth, at the end of a window of images.

    Parcels are followed backward in time from the points of the last image, and earlier images are compared with what
    the parcels were where they are then:

    .. math::

        J = \tfrac12 \|x\|^2_B + \sum_k \sum_x \rho\Bigl(\frac{y_{-k}(X_{-k}(x)) - I_{-k}(x)}{\sigma}\Bigr), \quad
        \dot X = w(X) + q(X, t), \quad \dot I = s(t), \quad I_0 = y_0

    with :math:`\rho(r) = c^2 (\sqrt{1 + (r/c)^2} - 1)` and images scaled to unit standard deviation in each window. Two
    outer loops find it. The first takes all images and the steady motion w alone, for a source beside it would take
    part of the motion for growth. The second stays at that motion and finds from the newest pair what fades: the
    transient motion q and the source s, at the time of the last image. Lengths are in grid cells and times in frames,
    for the scales that images resolve and the errors that they have go with both.

    Parameters
    ----------
    transform : {"none", "square_root"}
        What is compared: the variable, or its root, whose error varies less where it rains.
    steady : Smoothness
        Prior of w.
    background_error : specification, optional
        B of w in m s-1 and metres, instead of that of `steady`.
    transient : Transient, optional
        Priors of q and s; without it there is one loop.
    ages : int
        Images before the last that the first loop compares.
    error : float
        σ, over the standard deviation of the images.
    observation_error : float, optional
        Standard deviation of the errors of observation in the units of the variable, instead of `error`: σ is this
        times the derivative of the transform at the median m of the window's positive values, :math:`1 / (2 \sqrt m)`
        for the root. A window without positive values keeps `error`.
    threshold : float
        c, in σ.
    truncation : float
        Share of the wavenumbers that the control holds, see `Tikhonov`.
    levels : tuple of int
        Of the first loop, see `solve`; a steady motion is smooth enough to be found on the last of them.
    minimizer : LBFGS, optional
        Of both loops and all levels. Default: one that suits each.
    cost_history : bool
        Whether J is told by evaluation.
    """

    transform: Transform = "none"
    steady: Smoothness = Smoothness(250.0, 2500.0)
    background_error: Any = None
    transient: Transient | None = None
    ages: int = 3
    error: float = 0.2
    observation_error: float | None = None
    threshold: float = 1.0
    truncation: float = 0.5
    levels: tuple[int, ...] = (8, 4, 2)
    minimizer: LBFGS | None = None
    cost_history: bool = False

    def minimisations(self, grid: Grid) -> list[Minimisation]:
        """Those of both loops."""
        *_, finest = levels = fitting(self.levels, grid)
        relative = [level // finest for level in levels]
        steady, coarse = self._minimizers()
        first = minimisations(relative, steady, coarse, loop="steady", finest=finest)
        if self.transient is None:
            return first
        return first + minimisations(
            fitting(self.transient.levels, grid), self.minimizer or TRANSIENT, loop="transient"
        )

    def _minimizers(self) -> tuple[LBFGS, LBFGS]:
        """Of the first loop, at its last level and at those before."""
        return self.minimizer or (ALONE if self.transient is None else STEADY), self.minimizer or COARSE

    def steady_problem(
        self,
        images: Tensor,
        seconds: Sequence[float],
        frame: float,
        grid: Grid,
        guess: Tensor | None = None,
        error: Tensor | float | None = None,
    ) -> Problem:
        """Return the problem of the first loop.

        Parameters
        ----------
        images : Tensor (window, frame, y, x)
            Of unit standard deviation; NaN where nothing was observed.
        seconds : sequence of float
            Time of each image.
        frame : float
            Seconds between frames, the unit of time of the priors.
        grid : Grid
        guess : Tensor (window, 2, y, x), optional
            Centre of the prior of the motion, in m/s; rest if there is none.
        error : float or Tensor (window, 1, 1, 1), optional
            σ of the images; `error` if it is left out.
        """
        error = self.error if error is None else error
        background = {
            "velocity": images.new_zeros(len(images), 2, *grid.shape) if guess is None else guess,
            "tracer": torch.nan_to_num(images[:, -1:]),
        }
        prior = self.background_error
        if prior is None:
            prior = self.steady.in_metres(frame, grid.spacing, self.truncation)
        ages = range(1, min(self.ages, len(seconds) - 1) + 1)
        moved = frame**2 * sum(age**2 for age in ages)
        return Problem(
            grid=grid,
            dynamics=Parcels(),
            steps=tuple(seconds[-1 - age] - seconds[-age] for age in ages),
            background=background,
            background_error={"velocity": prior},
            observations=self._observations(images, seconds, ages, error),
            curvature={"velocity": moved * self._squared_gradient(background["tracer"], grid, error)},
        )

    def transient_problem(
        self,
        images: Tensor,
        seconds: Sequence[float],
        frame: float,
        grid: Grid,
        steady: Tensor,
        transient: Transient,
        error: Tensor | float | None = None,
    ) -> Problem:
        """Return the problem of the second loop, about the steady motion (window, 2, y, x); see `steady_problem`."""
        error = self.error if error is None else error
        cell = math.sqrt(math.prod(grid.spacing))
        tracer = torch.nan_to_num(images[:, -1:])
        background = {
            "velocity": steady,
            "transient": torch.zeros_like(steady),
            "tracer": tracer,
            "source": torch.zeros_like(tracer),
        }
        source = Matern(transient.source_std / frame, transient.source_length * cell, truncation=self.truncation)
        step = seconds[-2] - seconds[-1]
        lifetimes = transient.lifetime * frame, transient.source_lifetime * frame
        moved, grown = (decay_integral(step, lifetime) ** 2 for lifetime in lifetimes)
        return Problem(
            grid=grid,
            dynamics=Parcels(*lifetimes),
            steps=(step,),
            background=background,
            background_error={
                "transient": transient.smoothness.in_metres(frame, grid.spacing, self.truncation),
                "source": source,
            },
            observations=self._observations(images, seconds, (1,), error),
            curvature={
                "transient": moved * self._squared_gradient(tracer, grid, error),
                "source": QUADRATIC / error**2 * grown * tracer.new_ones((1, 1, 1, 1)),
            },
        )

    def _observations(
        self, images: Tensor, seconds: Sequence[float], ages: Sequence[int], error: Tensor | float
    ) -> tuple[Observation, ...]:
        """Return the images before the last, each compared with the parcels that the last one sees."""
        last = images[:, -1:]
        wanted = torch.where(last.isfinite(), torch.zeros_like(last), torch.nan)
        return tuple(
            Observation(
                time=seconds[-1 - age] - seconds[-1],
                operator=ImageAtParcels(images[:, -1 - age, None]),
                values=wanted,
                std=error if isinstance(error, Tensor) else last.new_full((), error),
                threshold=self.threshold,
            )
            for age in ages
        )

    def _squared_gradient(self, tracer: Tensor, grid: Grid, error: Tensor | float) -> Tensor:
        """Estimate the second derivative of J_o by a displacement in metres, (window, 2, 1, 1)."""
        along_x = tracer.diff(dim=-1).square().mean((-2, -1)) / grid.spacing[1] ** 2
        along_y = tracer.diff(dim=-2).square().mean((-2, -1)) / grid.spacing[0] ** 2
        return QUADRATIC / error**2 * torch.cat([along_x, along_y], dim=1)[..., None, None]

    def problem(self, frames: Tensor, seconds: Sequence[float], grid: Grid, guess: Tensor | None = None) -> Problem:
        """Return the problem of the first loop, on the full grid, for frames in the units of the variable."""
        frame = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
        values, scale = self._scaled(frames)
        return self.steady_problem(values / scale, seconds, frame, grid, guess, self._share(frames, scale))

    def _scaled(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is compared, and its deviation (window, 1, 1, 1)."""
        values = forward(self.transform, torch.where(frames.isfinite(), frames, torch.nan))
        spread = deviation(values)
        return values, torch.where(spread > 0, spread, torch.ones_like(spread))

    def _start(self, images: Tensor, times: Sequence[float], frame: float, grid: Grid) -> tuple[Tensor, Tensor]:
        """Return the uniform motion (window, 2, y, x) of the best correlation, and the windows that have a rival."""
        best = displacement(images, times, frame)
        spacing = best.cells.new_tensor([grid.spacing[1], grid.spacing[0]])
        return (best.cells * spacing / frame)[:, :, None, None].expand(-1, -1, *grid.shape), best.has_rival

    def _share(self, frames: Tensor, scale: Tensor) -> Tensor | float:
        """Return σ over the deviation of the images: the default share, or (window, 1, 1, 1) of a stated error."""
        if self.observation_error is None:
            return self.error
        positive = torch.where(frames.isfinite() & (frames > 0), frames, torch.nan).flatten(1)
        median = positive.nanmedian(dim=1).values[:, None, None, None]
        share = self.observation_error * derivative(self.transform, median) / scale
        return torch.where(share.isfinite() & (share > 0), share, self.error)

    def forecast(self, steady: Tensor, transient: Tensor | None, seconds: float, frame: float) -> Tensor:
        r"""The motion some time after an analysis, about which the prior of the next window of a chain is.

        .. math:: w_b = w + q\, e^{-t / \tau}

        The prior about it is that about rest: B of a motion is no less than what a forecast of it is wrong by, and it
        has no model error that would make it more.

        Parameters
        ----------
        steady, transient : Tensor (window, 2, y, x)
            w and q at the end of the window before.
        seconds, frame : float
            t, and the time between frames, in which the lifetime is counted.
        """
        if transient is None or self.transient is None:
            return steady
        return torch.add(steady, transient, alpha=math.exp(-seconds / (self.transient.lifetime * frame)))

    def analyse(
        self, frames: Tensor, seconds: Sequence[float], grid: Grid, guess: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Analyse a batch of windows.

        Parameters
        ----------
        frames : Tensor (window, frame, y, x)
            The variable in its own units, NaN where nothing was observed.
        seconds : sequence of float
            Time of each frame after the first.
        grid : Grid
        guess : Tensor (window, 2, y, x), optional
            The motion at the end of the window as it is expected, see `forecast`; rest where there is none.

        Returns
        -------
        dict of Tensor (window, ...)
            ``analysis``, ``u``, ``v`` (window, step, y, x), ``observed`` (window, y, x); where there is a transient,
            ``u_transient``, ``v_transient`` and ``growth`` (window, y, x) at the end of the window, the growth of the
            compared variable in a frame over its deviation; ``image_scale``, that deviation in the units of the
            variable; of rain the errors of `past_errors`; ``cost`` and its terms (window, stage) of the last loop;
            ``gradient_norm``, ``evaluations``, ``number_of_observations`` and ``status`` (window,); of a cost history
            the numbers of `CostHistory.numbers`.
        """
        return in_groups(frames, lambda part, kept, own: self._analyse(part, seconds, kept, grid, own), guess)

    def _analyse(
        self, frames: Tensor, seconds: Sequence[float], kept: list[int], grid: Grid, guess: Tensor | None
    ) -> dict[str, Tensor]:
        """Analyse windows from the frames that hold values, at the times of all."""
        frame = (seconds[-1] - seconds[0]) / (len(seconds) - 1)
        values, scale = self._scaled(frames)
        spread = deviation(values)
        observed, values, times = values, values[:, kept], [seconds[index] for index in kept]
        images = values / scale
        error = self._share(frames, scale)
        ambiguous = torch.zeros(len(frames), dtype=torch.bool, device=frames.device)
        if guess is None:
            guess, ambiguous = self._start(images, times, frame, grid)
        problem = self.steady_problem(images, times, frame, grid, guess, error)
        *_, finest = levels = fitting(self.levels, grid)
        cost_history = CostHistory(len(frames), self.minimisations(grid)) if self.cost_history else None
        steady_minimizer, coarse = self._minimizers()
        result = solve(
            problem.coarsen(finest),
            steady_minimizer,
            levels=[level // finest for level in levels],
            coarse=coarse,
            cost_history=cost_history,
        )
        # The increment alone is coarse: what is finer in the guess is kept.
        steady = guess + prolong(result.increment["velocity"], finest, grid.shape)
        motion = _Motion(steady, times[-1])
        evaluations = result.minimum.evaluations
        outputs = {"image_scale": backward(self.transform, scale).flatten()}
        if self.transient is not None:
            growth = torch.zeros_like(frames[:, 0])
            if len(kept) > 1:
                about = self.transient_problem(images, times, frame, grid, motion.steady, self.transient, error)
                minimizer = self.minimizer or TRANSIENT
                result = solve(about, minimizer, levels=fitting(self.transient.levels, grid), cost_history=cost_history)
                state, evaluations = result.trajectory[0], evaluations + result.minimum.evaluations
                motion = replace(motion, transient=state["transient"], lifetime=self.transient.lifetime * frame)
                faded = math.exp((times[-1] - seconds[-1]) / (self.transient.source_lifetime * frame))
                growth = state["source"][:, 0] * (frame * faded)
            fading = motion.at(seconds[-1]) - motion.steady
            outputs |= {"u_transient": fading[:, 0], "v_transient": fading[:, 1], "growth": growth}
        velocity = torch.stack([motion.at(time) for time in seconds], dim=1)
        paths = paths_to_last(motion, seconds, grid, values)
        analysed = carried(values, times, motion, seconds, grid, paths)
        if self.transform == "square_root":
            by_age = {round((times[-1] - seconds[step]) / frame): step for step in kept[:-1][-self.ages :]}
            within = {age: step for age, step in by_age.items() if 1 <= age <= self.ages}
            inside = {step: is_inside(paths[seconds[step]], grid.shape) for step in within.values()}
            outputs |= past_errors(analysed, observed, within, inside, self.ages)
        seen = images[:, -1 - self.ages : -1] if len(kept) > 1 else images[:, :0]
        count = seen.isfinite().flatten(1).sum(1)
        return {
            "analysis": backward(self.transform, analysed),
            "u": velocity[:, :, 0],
            "v": velocity[:, :, 1],
            "observed": frames[:, -1],
            **outputs,
            **costs_of(result),
            "gradient_norm": result.minimum.gradient_norm,
            "evaluations": evaluations,
            "number_of_observations": count,
            "status": status_of(result, (spread.flatten() == 0) | (count == 0), ambiguous),
            **({} if cost_history is None else cost_history.numbers()),
        }


class Timed(Protocol):
    """A motion that is known at all times, and the time of the last image."""

    @property
    def reference(self) -> float:
        """The time of the last image."""
        ...

    def between(self, begin: float, end: float, /) -> Tensor:
        """The motion on average between two times (window, 2, y, x) in m/s."""
        ...


@dataclass(frozen=True)
class _Motion:
    """A steady motion (window, 2, y, x), and a transient one at a reference time."""

    steady: Tensor
    reference: float
    transient: Tensor | None = None
    lifetime: float = math.inf

    def at(self, time: float) -> Tensor:
        """The motion at a time."""
        if self.transient is None:
            return self.steady
        return torch.add(self.steady, self.transient, alpha=math.exp(-abs(time - self.reference) / self.lifetime))

    def between(self, begin: float, end: float) -> Tensor:
        """The motion on average between two times."""
        if self.transient is None:
            return self.steady
        left = decay_integral(end - self.reference, self.lifetime) - decay_integral(
            begin - self.reference, self.lifetime
        )
        return torch.add(self.steady, self.transient, alpha=left / (end - begin))


def in_groups(
    frames: Tensor,
    analyse: Callable[[Tensor, list[int], Tensor | None], dict[str, Tensor]],
    guess: Tensor | None = None,
) -> dict[str, Tensor]:
    """Analyse windows with those that are like them: the same frames hold values, and there are holes or none.

    What has no holes is solved with less work, and so with other bits: a window must not be told by its neighbours
    which way it goes.

    Parameters
    ----------
    frames : Tensor (window, frame, y, x)
        NaN where nothing was observed.
    analyse : callable (frames, kept, guess) -> dict of Tensor
        Analyses such windows; `kept` are the frames that hold any value, the last one where none does.
    guess : Tensor (window, ...), optional
        What else each window has of its own.
    """
    valid = frames.isfinite()
    has = valid.flatten(2).any(dim=2)
    has[:, -1] |= ~has.any(dim=1)
    whole = valid.flatten(1).all(dim=1, keepdim=True)
    patterns, which = torch.cat([has, whole], dim=1).unique(dim=0, return_inverse=True)
    results: dict[str, Tensor] = {}
    for index, pattern in enumerate(patterns):
        windows = torch.nonzero(which == index).flatten()
        kept, own = torch.nonzero(pattern[:-1]).flatten().tolist(), None if guess is None else guess[windows]
        for name, values in analyse(frames[windows], kept, own).items():
            if name not in results:
                results[name] = values.new_empty(len(frames), *values.shape[1:])
            results[name][windows] = values
    return results


def carried(
    values: Tensor,
    times: list[float],
    motion: Timed,
    wanted: Sequence[float],
    grid: Grid,
    paths: Mapping[float, Tensor] | None = None,
) -> Tensor:
    """The last image along the motion to all times wanted, ascending; its holes are filled from earlier images."""
    model = Parcels().bind(grid, dtype=values.dtype, device=values.device)
    last, position = values[:, -1:], model.grid_points
    for index in range(len(times) - 2, -1, -1):
        if bool(last.isfinite().all()):
            break
        velocity = motion.between(times[index], times[index + 1])
        position = model.follow(velocity, position, times[index] - times[index + 1])
        last = torch.where(last.isfinite(), last, sample(values[:, index, None], position))
    if paths is None:
        paths = paths_to_last(motion, wanted, grid, values)
    return torch.cat([sample(last, paths[time]) if time in paths else last for time in wanted], dim=1)


def paths_to_last(motion: Timed, wanted: Sequence[float], grid: Grid, like: Tensor) -> dict[float, Tensor]:
    """Positions (window, 2, y, x), at the last image, of the parcels at the grid points at other times wanted."""
    model = Parcels().bind(grid, dtype=like.dtype, device=like.device)
    found = {}
    for side in (
        sorted((t for t in wanted if t < motion.reference), reverse=True),
        [t for t in wanted if t > motion.reference],
    ):
        paths, near = model.grid_points, motion.reference
        for time in side:
            # A parcel at a grid point at this time moves by the motion to where the paths from there are known.
            step = model.follow(motion.between(*sorted((time, near))), model.grid_points, near - time)
            found[time] = paths = compose_displacements(step, paths, model.grid_points)
            near = time
    return found


def forward(transform: Transform, values: Tensor) -> Tensor:
    """The variable as it is compared."""
    return values.clamp_min(0).sqrt() if transform == "square_root" else values


def backward(transform: Transform, values: Tensor) -> Tensor:
    """The variable in its own units."""
    return values.clamp_min(0).square() if transform == "square_root" else values


def derivative(transform: Transform, values: Tensor) -> Tensor:
    """Return the derivative of `forward`."""
    return 0.5 / values.sqrt() if transform == "square_root" else torch.ones_like(values)


def fitting(levels: Sequence[int], grid: Grid) -> tuple[int, ...]:
    """The levels whose grids still have 8 points a side; the grid itself where none has."""
    return tuple(level for level in levels if min(grid.shape) >= 8 * level) or (1,)


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


def status_of(result: Analysis, flat: Tensor, ambiguous: Tensor | None = None) -> Tensor:
    """Return the `Status` of each window; `flat` has nothing to observe, `ambiguous` has another motion as likely."""
    reason = result.minimum.reason
    status = torch.full_like(reason, int(Status.CONVERGED))
    status[reason == Reason.EVALUATIONS] = int(Status.NOT_CONVERGED)
    if ambiguous is not None:
        status[ambiguous] = int(Status.AMBIGUOUS)
    status[reason == Reason.DIVERGED] = int(Status.DIVERGED)
    status[flat] = int(Status.BACKGROUND_ONLY)
    return status
