"""The motion of images, with its fading part and the growth and decay of what the parcels carry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xvar.core.cost import Cost
from xvar.core.covariance import Diagonal
from xvar.core.dynamics import State
from xvar.core.finite import is_finite
from xvar.core.grid import Grid, coarser, prolong
from xvar.core.linearisation import Linearisation
from xvar.core.methods.correlation import displacement
from xvar.core.methods.image_problems import ImageProblems, ScaledImages, backward, forward
from xvar.core.methods.motion import (
    Motion,
    cadence,
    carried,
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
from xvar.core.posterior import Normals, Posterior, Sampling, degrees_of_freedom, standard_errors
from xvar.core.solve import Analysis, CostHistory, Minimisation, minimisations, solve
from xvar.core.tiles import Tiles

# Rounding decides the step at which a minimisation ends. Coarse grids cost little: there it continues until that has no
# effect, and finer grids start next to the minimum. A steady motion that a transient follows need not quite reach it.
COARSE = LBFGS(max_evaluations=30, gtol=1e-3, ftol=3e-4, history_size=8)
ALONE = LBFGS(max_evaluations=60, gtol=1e-3, ftol=3e-4, history_size=8)
STEADY = LBFGS(max_evaluations=30, gtol=1e-3, ftol=1e-3, history_size=8)
TRANSIENT = LBFGS(max_evaluations=30, gtol=1e-3, ftol=1e-3, history_size=4)
#: Points that tiles share with their neighbours at least, and the displacements of a frame added to them.
HALO, HALO_STEPS = 32, 3
UNEXPLAINED = 0.02  # share of the misfit that a motion of half a cell in a frame explains at least


@dataclass(frozen=True)
class ImageMotion(ImageProblems):
    """4D-Var for the motion, and the growth, at the end of a window of images: the minima of `ImageProblems`."""

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
