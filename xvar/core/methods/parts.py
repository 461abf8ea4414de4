"""First guess of a motion where parts of the images move differently: a few displacements, each with its own area."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from xvar.core.grid import block_mean, prolong
from xvar.core.interpolate import identity, sample
from xvar.core.methods.correlation import REACH, consecutive, correlation, highest
from xvar.core.methods.octaves import is_inside

SHARE = 0.5  # of the misfit that another displacement may leave, to count
AROUND = 17  # blocks a side of the box in which displacements are compared at a point
SMOOTHING = 65  # blocks a side of the box of the smooth motion that the parts must beat
ERROR = 0.2  # of the deviation of the images: larger differences count less
NEGLIGIBLE = 1e-4  # misfit, in squared deviations of the images
LARGEST_STEP = 2.0  # blocks, of an iteration of `_refined`
ITERATIONS = 4
LARGEST = 256  # cells along the shorter side of the images that are compared, less than twice as many


def local_displacement(images: Tensor, seconds: Sequence[float], frame: float, cells: Tensor) -> Tensor:
    r"""Return the displacement at every point (window, 2, y, x), from that of whole images, `cells` (window, 2).

    It is uniform, unless parts of the images (window, frame, y, x), scaled to unit deviation, move differently. In each
    of nine tiles of half the sides a displacement is a candidate if it leaves less than half of the misfit of that of
    the whole images; both are refined to fractions of a cell by

    .. math:: \min_d \sum_k \sum_x \rho\bigl(y_{k+1}(x) - y_k(x - d)\bigr)

    with ρ the pseudo-Huber norm. Of the two candidates that together leave the least misfit m, in a box about each
    point, every point has the better one; a third counts if it leaves half of that, and so on. They are refined once
    more on their own points. The motion stays uniform unless the parts leave less than half of its misfit, and less
    than the mean of their displacements over large boxes: a motion that varies smoothly, such as a rotation, is found
    from a uniform guess, and not from one with jumps. Parcels that cross a front, which no motion explains, must not
    decide: m is the mean of :math:`r^2 / (1 + (r / \sigma)^2)`, which is bounded, and the misfit of a field is
    :math:`\exp \overline{\ln m(x)}`. Of images of `LARGEST` cells or more along the shorter side
    blocks of cells are compared; candidates are found on blocks of 2 by 2 cells at least. Images of less than 128 cells
    a side have no tiles.
    """
    rows, columns = images.shape[-2:]
    guess = cells[:, :, None, None].repeat(1, 1, rows, columns)
    pairs = [index for index in range(1, len(seconds)) if consecutive(seconds, index, frame)]
    if min(rows, columns) < 4 * REACH or not pairs:
        return guess
    side = max(1, min(rows, columns) // LARGEST)
    tiled, coarse = (block_mean(images, n) for n in (max(2, side), side))
    for window in range(len(images)):
        own = cells[window] / max(2, side)
        candidates = max(2, side) * _candidates(tiled[window], pairs, seconds, frame, own, REACH // max(2, side))
        found = _parts(coarse[window], pairs, candidates / side) if len(candidates) > 1 else None
        if found is not None:
            guess[window] = side * prolong(found[None], side, (rows, columns))[0]
    return guess


def _candidates(
    images: Tensor, pairs: Sequence[int], seconds: Sequence[float], frame: float, cells: Tensor, reach: int
) -> Tensor:
    """Return the displacement of whole images (frame, y, x) and those of tiles that leave less misfit (k, 2)."""
    rows, columns = (n // 4 for n in images.shape[-2:])
    corners = [(x, y) for y in (0, rows, 2 * rows) for x in (0, columns, 2 * columns)]
    tiles = torch.stack([images[:, y : y + 2 * rows, x : x + 2 * columns] for x, y in corners])
    after, lag = tiles[:, pairs], [index - 1 for index in pairs]
    points = identity((2 * rows, 2 * columns), images) + images.new_tensor(corners)[:, :, None, None]
    every = torch.ones_like(images[0], dtype=torch.bool)
    common = _refined(images[lag], images[pairs][None], identity(tuple(images.shape[-2:]), images), cells[None], every)
    own, _ = highest(correlation(tiles, seconds, frame, reach))

    def misfit(shifts: Tensor) -> Tensor:
        return _mean_square(_difference(images[lag], after, points, shifts), (1, 2, 3))

    whole = common.expand(len(tiles), 2)
    left = misfit(whole)
    start = torch.where((misfit(own) < left)[:, None], own, whole)
    found = _refined(images[lag], after, points, start, every[: 2 * rows, : 2 * columns])
    return torch.cat([common, found[misfit(found) < SHARE * left]])


def _parts(images: Tensor, pairs: Sequence[int], candidates: Tensor) -> Tensor | None:
    """Return the field of displacements (2, y, x) of parts of images (frame, y, x); None for a uniform motion."""
    before, after = images[[index - 1 for index in pairs]], images[pairs][None]
    points = identity(tuple(images.shape[-2:]), images)

    def misfits(shifts: Tensor) -> Tensor:
        return torch.cat([_box_mean(_difference(before, after, points, one[None])) for one in shifts])

    every = misfits(candidates)
    joint = [
        (_mean_logarithm(torch.minimum(every[one], every[other])), one, other)
        for one, other in itertools.combinations(range(len(candidates)), 2)
    ]
    chosen = list(min(joint)[1:])
    while True:
        least = every[chosen].amin(0)
        further = [_mean_logarithm(torch.minimum(least, one)) for one in every]
        best = min(range(len(every)), key=lambda index: further[index])
        if further[best] >= SHARE * _mean_logarithm(least):
            break
        chosen.append(best)
    shifts = candidates[chosen]
    for _ in range(2):
        nearest = misfits(shifts).argmin(0)
        own = [_refined(before, after, points, one[None], nearest == index) for index, one in enumerate(shifts)]
        shifts = torch.cat(own)
    local = shifts[misfits(shifts).argmin(0)].movedim(-1, 0)
    smooth = local
    for size in ((SMOOTHING, 1), (1, SMOOTHING)):
        smooth = avg_pool2d(smooth, size, 1, tuple(n // 2 for n in size), count_include_pad=False)
    found, smoothed = (_mean_logarithm(_box_mean(_difference(before, after, points, one))) for one in (local, smooth))
    return local if found < min(smoothed, SHARE * _mean_logarithm(every[0])) else None


def _difference(before: Tensor, after: Tensor, points: Tensor, shifts: Tensor) -> Tensor:
    """Return images after (tile, pair, y, x) less those before, moved by shifts (tile, 2) or (2, y, x); NaN outside."""
    return after - _moved(before, points, shifts)


def _moved(before: Tensor, points: Tensor, shifts: Tensor) -> Tensor:
    """Return images (pair, y, x) at points (tile, 2, y, x) less shifts (tile, 2) or (2, y, x); NaN outside the grid."""
    position = points - (shifts if shifts.ndim == 3 else shifts[:, :, None, None])
    gap = torch.where(is_inside(position, before.shape[-2:]), 0.0, torch.nan)[:, None]
    return sample(before[None].expand(len(position), -1, -1, -1), position).add_(gap)


def _refined(before: Tensor, after: Tensor, points: Tensor, shifts: Tensor, mask: Tensor) -> Tensor:
    """Return shifts (tile, 2) refined by Gauss-Newton iterations on the points of a mask (y, x)."""
    for _ in range(ITERATIONS):
        moved = _moved(before, points, shifts)
        change = (after - moved)[..., 1:-1, 1:-1]
        slope_x = 0.5 * (moved[..., 1:-1, 2:] - moved[..., 1:-1, :-2])
        slope_y = 0.5 * (moved[..., 2:, 1:-1] - moved[..., :-2, 1:-1])
        known = ~(change + slope_x + slope_y).isnan() & mask[1:-1, 1:-1]
        terms = torch.stack([slope_x, slope_y, change], dim=1).flatten(2).nan_to_num_()
        weight = (1 + (terms[:, 2:] / ERROR).square_()).rsqrt_().mul_(known.flatten(1)[:, None])
        products = (weight * terms) @ terms.mT
        xx, xy, yy, x, y = (products[:, i, j] for i, j in ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2)))
        damping = 1e-3 * (xx + yy) + 1e-12
        xx, yy = xx + damping, yy + damping
        step = -torch.stack([yy * x - xy * y, xx * y - xy * x], dim=1) / (xx * yy - xy * xy)[:, None]
        shifts = (shifts + step.clamp(-LARGEST_STEP, LARGEST_STEP)).clamp(-REACH, REACH)
    return shifts


def _mean_square(change: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return the mean square of the known differences."""
    known = change.isfinite()
    return torch.where(known, change, 0.0).square().sum(dims) / known.sum(dims).clamp_min(1)


def _box_mean(change: Tensor) -> Tensor:
    """Return the mean bounded square about every point (tile, y, x) of differences (tile, pair, y, x)."""
    known = change.isfinite()
    square = torch.where(known, change, 0.0).square()
    both = torch.stack([(square / (1 + square / ERROR**2)).sum(1), known.sum(1).to(change)])
    along = avg_pool2d(both, (AROUND, 1), 1, (AROUND // 2, 0))
    total, count = avg_pool2d(along, (1, AROUND), 1, (0, AROUND // 2))
    mean: Tensor = total / count.clamp_min(1e-6)
    return mean


def _mean_logarithm(misfit: Tensor) -> float:
    """Return the geometric mean of misfits."""
    return float((misfit + NEGLIGIBLE).log().mean().exp())
