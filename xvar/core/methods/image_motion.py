"""The motion of images, with its fading part and the growth and decay of what the parcels carry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from xvar.core.cost import Cost
from xvar.core.covariance import Diagonal, Matern, Tikhonov
from xvar.core.dynamics import State
from xvar.core.finite import filled, is_finite
from xvar.core.grid import Grid, coarser, prolong
from xvar.core.linearisation import Linearisation
from xvar.core.methods.correlation import displacement
from xvar.core.methods.motion import (
    Motion,
    cadence,
    carried,
    damp_shortest,
    deviation,
    diagnostics,
    explained_misfit,
    fitting,
    have_values,
    in_groups,
    paths_to_last,
    scale_of,
)
from xvar.core.methods.octaves import is_inside, past_errors
from xvar.core.methods.parts import local_displacement
from xvar.core.minimize import LBFGS
from xvar.core.models.parcels import ImageAtParcels, Parcels, decay_integral
from xvar.core.norm import PseudoHuber
from xvar.core.observation import Observation
from xvar.core.posterior import Normals, Posterior, Sampling, degrees_of_freedom, standard_errors
from xvar.core.problem import Problem
from xvar.core.solve import Analysis, CostHistory, Minimisation, minimisations, solve
from xvar.core.tiles import Tiles

Transform = Literal["none", "square_root"]

# Rounding decides the step at which a minimisation ends. Coarse grids cost little: there it continues until that has no
# effect, and finer grids start next to the minimum. A steady motion that a transient follows need not quite reach it.
COARSE = LBFGS(max_evaluations=30, gtol=1e-3, ftol=3e-4, history_size=8)
ALONE = LBFGS(max_evaluations=60, gtol=1e-3, ftol=3e-4, history_size=8)
STEADY = LBFGS(max_evaluations=30, gtol=1e-3, ftol=1e-3, history_size=8)
TRANSIENT = LBFGS(max_evaluations=30, gtol=1e-3, ftol=1e-3, history_size=4)
#: Points that tiles share with their neighbours at least, and the displacements of a frame added to them.
HALO, HALO_STEPS = 32, 3
UNEXPLAINED = 0.02  # share of the misfit that a motion of half a cell in a frame explains at least
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
class ImageMotion:
    r"""4D-Var for the motion, and the growth, at the end of a window of images.

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
    levels: tuple[int, ...] = (8, 4, 2)  #: Levels of the first loop, see `solve`; the last resolves a steady motion.
    minimizer: LBFGS | None = None  #: Minimiser of both loops and all levels; None: one that suits each.
    cost_history: bool = False  #: Record J and its terms at every evaluation.
    sampling: Sampling | None = None  #: Draw errors of the analysis, see `Posterior`.
    #: Points along a side of the tiles in which the second loop minimises the full grid, see `Tiles`; None: as a whole.
    tile: int | None = None

    def minimisations(self, grid: Grid) -> list[Minimisation]:
        """Return the minimisations of both outer loops."""
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
        """Return the minimisers of the first loop, at its last level and at those before."""
        return self.minimizer or (ALONE if self.transient is None else STEADY), self.minimizer or COARSE

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

    @in_groups
    def analyse(
        self,
        frames: Tensor,
        seconds: Sequence[float],
        grid: Grid,
        guess: Tensor | None = None,
        seeds: Tensor | None = None,
        start: State | None = None,
    ) -> dict[str, Tensor]:
        """Analyse a batch of windows.

        Frames (window, frame, y, x) in the units of the variable, NaN if not observed, at times after the first frame;
        `guess` (window, 2, y, x) is the expected motion at the end of the window, see `forecast` (default: the
        displacement of best correlation), `seeds` (window,) of the `sampling`. Of a single window the minimisations may
        begin at a state `start` (1, component, y, x): ``velocity`` in m/s, ``transient`` likewise, and ``source``, the
        growth of the transformed variable in a second over its deviation.

        Returns
        -------
        dict of Tensor (window, ...)
            ``analysis``, ``u``, ``v`` (window, step, y, x), ``observed`` (window, y, x); with a transient its steady
            motion ``u_steady``, ``v_steady``, and ``u_transient``, ``v_transient`` and ``growth`` at the end of the
            window, all (window, y, x), the growth of the transformed variable in a frame over its deviation;
            ``image_scale``, that deviation in the units of the variable; ``motion_skill`` (window, age), see
            `explained_misfit`; of rain the errors of `past_errors`; the `diagnostics` of the last loop; with `sampling`
            the `standard_errors` of the motion and of the growth.
        """
        kept = torch.nonzero(have_values(frames)[0]).flatten().tolist()
        images, spread = self._scaled(frames, kept, seconds, grid)
        times, frame = images.seconds, images.frame
        ambiguous = torch.zeros(len(frames), dtype=torch.bool, device=frames.device)
        if guess is None:
            best = displacement(images.values, times, frame)
            cells = local_displacement(images.values, times, frame, best.cells)
            spacing = cells.new_tensor([grid.spacing[1], grid.spacing[0]]).view(1, 2, 1, 1)
            guess, ambiguous = cells * spacing / frame, best.has_rival
        cost_history = CostHistory(len(frames), self.minimisations(grid)) if self.cost_history else None
        first, steady = self._steady(images, guess, cost_history, start)
        skill, whole = explained_misfit(first, frame, self.ages)
        ambiguous |= (whole < UNEXPLAINED) & (speed(steady, frame, grid) > 0.5)
        seen = images.values[:, -1 - self.ages : -1] if len(kept) > 1 else images.values[:, :0]
        count, flat = is_finite(seen).flatten(1).sum(1), spread.flatten() == 0
        loops, state = [first], {"velocity": steady}
        if self.transient is not None and len(kept) > 1:
            about, levels = self.transient_problem(images, steady, self.transient), fitting(self.transient.levels, grid)
            del images, seen
            minimizer = self.minimizer or TRANSIENT
            tiles = self._tiles(steady, frame, grid)
            loops.append(solve(about, minimizer, levels=levels, cost_history=cost_history, start=start, tiles=tiles))
            state = loops[-1].state
            del about
        outputs = diagnostics(loops, count, flat, ambiguous=ambiguous, cost_history=cost_history)
        outputs |= {"motion_skill": skill, "image_scale": backward(self.transform, scale_of(spread)).flatten()}
        posteriors = []
        if self.sampling is not None and seeds is not None:
            posteriors = [Posterior(one.cost, one.minimum.control, self.sampling) for one in loops]
        del loops, first  # a third of the memory of a window
        outputs |= self._along(self._motion(state, times[-1], frame), frames, kept, seconds, grid)
        outputs |= self._fields(state, seconds, times[-1], frame)
        if self.sampling is not None and seeds is not None:
            states = self._members(posteriors, self.sampling, state, seeds, grid)
            members = (self._fields(one, seconds, times[-1], frame) for one in states)
            outputs |= standard_errors(outputs, members, self.sampling)
            signals = zip(*(one.signals for one in posteriors), strict=True)
            outputs |= degrees_of_freedom([sum(parts[1:], parts[0]) for parts in signals])
        return {"observed": frames[:, -1].clone(), **outputs}

    def _along(
        self, motion: Motion, frames: Tensor, kept: Sequence[int], seconds: Sequence[float], grid: Grid
    ) -> dict[str, Tensor]:
        """Return the last image carried to all times, and of rain its errors at those of earlier images."""
        observed, times = forward(self.transform, frames), [seconds[index] for index in kept]
        paths = paths_to_last(motion, seconds, grid, observed)
        shown = observed if len(kept) == len(seconds) else observed[:, list(kept)]
        analysed = carried(shown, times, motion, seconds, grid, paths)
        errors: dict[str, Tensor] = {}
        if self.transform == "square_root":
            by_age = {round((times[-1] - seconds[step]) / cadence(seconds)): step for step in kept[:-1][-self.ages :]}
            within = {age: step for age, step in by_age.items() if 1 <= age <= self.ages}
            inside = {step: is_inside(paths[seconds[step]], grid.shape) for step in within.values()}
            del paths
            errors = past_errors(analysed, observed, within, inside, self.ages)
        return {"analysis": backward(self.transform, analysed), **errors}

    def _tiles(self, steady: Tensor, frame: float, grid: Grid) -> Tiles | None:
        """Return the tiles of the second loop: a parcel stays inside, and so do those of its neighbours."""
        if self.tile is None:
            return None
        spacing = zip(steady.unbind(1), reversed(grid.spacing), strict=True)
        fastest = max(float(part.abs().max()) * frame / distance for part, distance in spacing)
        halo = HALO + HALO_STEPS * math.ceil(fastest)
        return Tiles(self.tile, min(halo, self.tile // 4))

    def _motion(self, state: State, reference: float, frame: float) -> Motion:
        """Return the motion of a state at the time of the last image."""
        transient, lifetime = state.get("transient"), self.transient.lifetime * frame if self.transient else math.inf
        return Motion(state["velocity"], reference, transient, lifetime)

    def _fields(self, state: State, seconds: Sequence[float], reference: float, frame: float) -> dict[str, Tensor]:
        """Return the motion at the times of the frames, its steady part, and at the last the fading part and growth."""
        motion = self._motion(state, reference, frame)
        velocity = torch.stack([motion.at(time) for time in seconds], dim=1)
        fields = {"u": velocity[:, :, 0], "v": velocity[:, :, 1]}
        if self.transient is None:
            return fields
        fading, growth = motion.at(seconds[-1]) - motion.steady, torch.zeros_like(velocity[:, 0, 0])
        if "source" in state:
            faded = math.exp((reference - seconds[-1]) / (self.transient.source_lifetime * frame))
            growth = state["source"][:, 0] * (frame * faded)
        fields |= {"u_steady": motion.steady[:, 0], "v_steady": motion.steady[:, 1]}
        return fields | {"u_transient": fading[:, 0], "v_transient": fading[:, 1], "growth": growth}

    def _members(
        self, loops: Sequence[Posterior], sampling: Sampling, state: State, seeds: Tensor, grid: Grid
    ) -> Iterator[State]:
        r"""Yield states about that of the analysis by the errors of one or both loops, with the same η.

        That of the first loop moves the residuals of the second, whose perturbation solves

        .. math:: (I + B_q^{T/2} G_q^T W G_q B_q^{1/2})\, d_q = z_q
            + B_q^{T/2} G_q^T [\rho'(r)\, \eta - W G_w B_w^{1/2} d_w]
        """
        steady, *fading = loops
        normals = Normals(seeds, state["velocity"])
        *_, factor = fitting(self.levels, grid)
        # Of the last loop: the increment of the first one is mostly the mean motion, which B hardly holds.
        amplitude: Tensor | float = 1.0
        for one in fading:
            amplitude = one.amplitude(normals)
            about = one.cost.problem
            known, free = {key: state[key] for key in about.background}, {"velocity": Diagonal(1.0)}
            by_motion = Cost(replace(about, background=known, background_error=free, curvature={}))
            along = Linearisation(by_motion, by_motion.zero())
        for _ in range(sampling.solves):
            field = normals.field(grid.shape)
            error = steady.increment(steady.draw(normals, coarser(field, factor), (), amplitude))["velocity"]
            change = {"velocity": prolong(error, factor, grid.shape)}
            for one in fading:
                moved = along.tangent(change["velocity"].flatten(1))
                change |= one.increment(one.draw(normals, field, moved, amplitude))
            for sign in (1, -1):
                yield {**state, **{key: state[key] + sign * part for key, part in change.items()}}

    def _steady(
        self, images: ScaledImages, guess: Tensor, cost_history: CostHistory | None, start: State | None
    ) -> tuple[Analysis, Tensor]:
        """Run the first loop; return its analysis, and the steady motion on the full grid."""
        *_, finest = levels = fitting(self.levels, images.grid)
        minimizer, coarse = self._minimizers()
        relative, problem = [level // finest for level in levels], self.steady_problem(images, guess).coarsen(finest)
        begin = None if start is None else {"velocity": coarser(start["velocity"] - guess, finest)}
        result = solve(problem, minimizer, levels=relative, coarse=coarse, cost_history=cost_history, start=begin)
        # Only the increment is coarse: the guess keeps its finer scales.
        return result, guess + prolong(result.increment["velocity"], finest, images.grid.shape)


def speed(velocity: Tensor, frame: float, grid: Grid) -> Tensor:
    """Return the mean speed of a motion (window, 2, y, x) in m/s, in cells in a frame (window,)."""
    across, along = velocity.unbind(1)
    return torch.hypot(across * (frame / grid.spacing[1]), along * (frame / grid.spacing[0])).flatten(1).mean(1)


def forward(transform: Transform, values: Tensor) -> Tensor:
    """Transform the variable; what is not finite becomes NaN."""
    values = values.nan_to_num(torch.nan, torch.nan, torch.nan)
    return values.clamp_min_(0).sqrt_() if transform == "square_root" else values


def backward(transform: Transform, values: Tensor) -> Tensor:
    """Return the variable in its own units."""
    return values.clamp_min(0).square() if transform == "square_root" else values
