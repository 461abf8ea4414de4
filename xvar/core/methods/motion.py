"""Parts that the methods for images share: first guess, groups of windows, images along a motion, diagnostics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from xvar.core.finite import all_true, filled, is_finite
from xvar.core.grid import Grid
from xvar.core.interpolate import sample
from xvar.core.methods.octaves import is_inside
from xvar.core.minimize import Reason
from xvar.core.models.parcels import Parcels, compose_displacements, decay_integral
from xvar.core.solve import Analysis, CostHistory
from xvar.errors import Status

WITHIN = 1 / 3  # share of the parcels that say how well a motion explains an image


Analyse = TypeVar("Analyse", bound=Callable[..., dict[str, Tensor]])


@dataclass(frozen=True)
class Motion:
    r"""A motion (window, 2, y, x) in m/s at all times: :math:`w + a(t)\, q`, t from the `reference`, the last image.

    The changing part q fades with a `lifetime`, :math:`a = e^{-|t| / \tau}`; without one it is a rate, :math:`a = t`.
    """

    steady: Tensor
    reference: float
    changing: Tensor | None = None
    lifetime: float | None = None

    def at(self, time: float) -> Tensor:
        """Return the motion at a time."""
        elapsed = time - self.reference
        share = elapsed if self.lifetime is None else math.exp(-abs(elapsed) / self.lifetime)
        return self.steady if self.changing is None else torch.add(self.steady, self.changing, alpha=share)

    def between(self, begin: float, end: float) -> Tensor:
        """Return the mean motion between two times."""
        if self.changing is None or self.lifetime is None:
            return self.at(0.5 * (begin + end))
        before, after = (decay_integral(time - self.reference, self.lifetime) for time in (begin, end))
        return torch.add(self.steady, self.changing, alpha=(after - before) / (end - begin))


def cadence(seconds: Sequence[float]) -> float:
    """Return the mean time between frames in seconds."""
    return (seconds[-1] - seconds[0]) / (len(seconds) - 1)


def fitting(levels: Sequence[int], grid: Grid) -> tuple[int, ...]:
    """Return the levels whose grids have 8 points a side or more; the grid itself if none has."""
    return tuple(level for level in levels if min(grid.shape) >= 8 * level) or (1,)


def have_values(frames: Tensor) -> Tensor:
    """Return which frames of windows hold values (window, frame); the last if none does."""
    has = ~all_true(~is_finite(frames), 2)
    has[:, -1] |= ~has.any(dim=1)
    return has


def in_groups(analyse: Analyse) -> Analyse:
    """Let a method analyse windows together if the same frames hold values, and all or none have holes.

    Windows without holes take less work and so other bits, which must not depend on the rest of the batch.
    """

    @wraps(analyse)
    def grouped(
        self: Any,
        frames: Tensor,
        seconds: Sequence[float],
        grid: Grid,
        guess: Tensor | None = None,
        seeds: Tensor | None = None,
        **others: Any,
    ) -> dict[str, Tensor]:
        whole = all_true(is_finite(frames))[:, None]
        kinds, group = torch.cat([have_values(frames), whole], dim=1).unique(dim=0, return_inverse=True)
        if len(kinds) == 1:
            return analyse(self, frames, seconds, grid, guess, seeds, **others)
        results: dict[str, Tensor] = {}
        for index in range(len(kinds)):
            windows = torch.nonzero(group == index).flatten()
            own = (None if part is None else part[windows] for part in (guess, seeds))
            for name, values in analyse(self, frames[windows], seconds, grid, *own, **others).items():
                if name not in results:
                    results[name] = values.new_empty(len(frames), *values.shape[1:])
                results[name][windows] = values
        return results

    return cast("Analyse", grouped)


def carried(
    values: Tensor,
    times: Sequence[float],
    motion: Motion,
    wanted: Sequence[float],
    grid: Grid,
    paths: Mapping[float, Tensor] | None = None,
) -> Tensor:
    """Return the last image along the motion at all times wanted, ascending; earlier images fill its holes."""
    model = Parcels().bind(grid, dtype=values.dtype, device=values.device)
    last, position = values[:, -1:], model.grid_points
    for index in range(len(times) - 2, -1, -1):
        known = is_finite(last)
        if bool(all_true(known, 0)):
            break
        velocity = motion.between(times[index], times[index + 1])
        position = model.follow(velocity, position, times[index] - times[index + 1])
        last = torch.where(known, last, sample(values[:, index, None], position))
    if paths is None:
        paths = paths_to_last(motion, wanted, grid, values)
    return torch.cat([sample(last, paths[time]) if time in paths else last for time in wanted], dim=1)


def paths_to_last(motion: Motion, wanted: Sequence[float], grid: Grid, like: Tensor) -> dict[float, Tensor]:
    """Return positions (window, 2, y, x), at the last image, of parcels at the grid points at other times wanted."""
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


def observed_mean(values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the mask of observed values, these with zeros elsewhere, and number and mean of each window (window,)."""
    valid, clean = is_finite(values), filled(values)
    count = valid.flatten(1).sum(1).clamp_min(1)
    return valid, clean, count, clean.flatten(1).sum(1) / count


def damp_shortest(images: Tensor) -> Tensor:
    r"""Return images smoothed by the weights ¼, ½, ¼ along both axes, which remove the waves of two pixels.

    .. math:: \bar y = \frac{K(m\, y)}{K m}, \quad K = k k^T, \quad k = (\tfrac14, \tfrac12, \tfrac14)

    with m the mask of observed values and edges repeated; what is not observed (NaN) stays so.
    """
    valid = is_finite(images)

    def smooth(values: Tensor) -> Tensor:
        for axis in (-1, -2):
            size = values.shape[axis]
            first, last = values.narrow(axis, 0, 1), values.narrow(axis, size - 1, 1)
            before = torch.cat([first, values.narrow(axis, 0, size - 1)], dim=axis)
            after = torch.cat([values.narrow(axis, 1, size - 1), last], dim=axis)
            values = 0.5 * values + 0.25 * (before + after)
        return values

    smoothed = smooth(filled(images)) / smooth(valid.to(images)).clamp_min(1e-6)
    return torch.where(valid, smoothed, torch.nan)


def deviation(values: Tensor) -> Tensor:
    """Return the standard deviation of the observed values of each window (window, 1, ...), with all axes of them."""
    valid, clean, count, mean = observed_mean(values)
    squares = torch.where(valid.flatten(1), (clean.flatten(1) - mean[:, None]).square(), 0.0)
    return (squares.sum(1) / count).sqrt().reshape(-1, *(1,) * (values.ndim - 1))


def scale_of(spread: Tensor) -> Tensor:
    """Return a `deviation`, one for a window of equal values."""
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def explained_misfit(result: Analysis, frame: float, ages: int) -> tuple[Tensor, Tensor]:
    r"""Return the share of the misfit that the steady motion explains (window, age), and that of all ages (window,).

    .. math:: e_k = 1 - J_k(w) / J_k(0)

    with :math:`J_k` the misfit of the image k frames before the last, along the motion and at rest; parcels that leave
    the grid count in neither. NaN for ages without an image, and if less than `WITHIN` of the parcels stay.
    """
    problem, (at_rest, *states) = result.cost.problem, result.trajectory
    moved, still = (problem.like.new_full((problem.windows, ages), torch.nan) for _ in range(2))
    for step, seen in problem.observations_by_step().items():
        for image, _ in seen:
            inside = is_inside(states[step]["position"], problem.grid.shape)
            followed = replace(image, valid=image.mask & inside[:, None])
            age = round(-image.time / frame)
            if 1 <= age <= ages:
                known = followed.count() >= WITHIN * image.count()
                for misfits, state in ((moved, states[step]), (still, at_rest)):
                    misfits[:, age - 1] = torch.where(known, followed.misfit(state), torch.nan)
    return 1 - moved / still, 1 - moved.nansum(dim=1) / still.nansum(dim=1)


def diagnostics(
    loops: Sequence[Analysis],
    count: Tensor,
    flat: Tensor | None = None,
    *,
    ambiguous: Tensor | None = None,
    cost_history: CostHistory | None = None,
) -> dict[str, Tensor]:
    """Return costs, gradient norm, number of observations and `Status` of the last loop, and evaluations of all.

    Windows without observations (`count`) or with equal values (`flat`) keep the background; in `ambiguous` ones
    another motion is as likely.
    """
    *earlier, result = loops
    costs = {
        f"cost_{name}": torch.stack([before, result.cost_analysis[name]], dim=1)
        for name, before in result.cost_background.items()
    }
    first, *others = costs.values()
    reason = result.minimum.reason
    status = torch.full_like(reason, int(Status.CONVERGED))
    status[reason == Reason.EVALUATIONS] = int(Status.NOT_CONVERGED)
    if ambiguous is not None:
        status[ambiguous] = int(Status.AMBIGUOUS)
    status[reason == Reason.DIVERGED] = int(Status.DIVERGED)
    status[(count == 0) if flat is None else flat | (count == 0)] = int(Status.BACKGROUND_ONLY)
    return {
        "cost": sum(others, first),
        **costs,
        "gradient_norm": result.minimum.gradient_norm,
        "evaluations": sum((loop.minimum.evaluations for loop in earlier), result.minimum.evaluations),
        "number_of_observations": count,
        "status": status,
        **({} if cost_history is None else cost_history.numbers()),
    }
