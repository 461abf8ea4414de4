"""First guess of a motion where parts of the images move differently: a few displacements, each with its own area."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from xvar.core.grid import block_mean, prolong
from xvar.core.interpolate import identity, sample
from xvar.core.methods.correlation import REACH, consecutive, correlation, highest
from xvar.core.methods.octaves import is_inside

SHARE = 0.5  # of the misfit that another displacement may leave, to count
# Blocks a side of the boxes, one more than a power of two: in which displacements are compared at a point, and of the
# smooth motion that the parts must beat.
AROUND, SMOOTHING = 17, 65
ERROR = 0.2  # of the deviation of the images: larger differences count less
NEGLIGIBLE = 1e-4  # misfit, in squared deviations of the images
LARGEST_STEP = 2.0  # blocks, of an iteration of `_refined`
ITERATIONS = 4
WHOLE = ((0, 0),)  # corner of the only tile
BORDER = REACH + 1  # blocks beyond the edges that a displacement reaches
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
    before, after = _bordered(images[[index - 1 for index in pairs]]), tiles[:, pairs]
    common = _refined(before, images[pairs][None], WHOLE, cells[None])
    own, _ = highest(correlation(tiles, seconds, frame, reach))

    def misfit(shifts: Tensor) -> Tensor:
        return _mean_square(after - _moved(before, after, corners, shifts))

    whole = common.expand(len(tiles), 2)
    left = misfit(whole)
    start = torch.where((misfit(own) < left)[:, None], own, whole)
    found = _refined(before, after, corners, start)
    return torch.cat([common, found[misfit(found) < SHARE * left]])


def _parts(images: Tensor, pairs: Sequence[int], candidates: Tensor) -> Tensor | None:
    """Return the field of displacements (2, y, x) of parts of images (frame, y, x); None for a uniform motion."""
    unmoved, after = images[[index - 1 for index in pairs]], images[pairs][None]
    before = _bordered(unmoved)

    def misfits(shifts: Tensor) -> Tensor:
        return torch.cat([_misfit(after - _moved(before, after, WHOLE, one[None])) for one in shifts])

    every = misfits(candidates)
    joint = [
        (_geometric_mean(torch.minimum(every[one], every[other])), one, other)
        for one, other in itertools.combinations(range(len(candidates)), 2)
    ]
    chosen = list(min(joint)[1:])
    while True:
        least = every[chosen].amin(0)
        further = [_geometric_mean(torch.minimum(least, one)) for one in every]
        best = min(range(len(every)), key=lambda index: further[index])
        if further[best] >= SHARE * _geometric_mean(least):
            break
        chosen.append(best)
    shifts = candidates[chosen]
    for _ in range(2):
        nearest = misfits(shifts).argmin(0)
        own = [_refined(before, after, WHOLE, one[None], nearest == index) for index, one in enumerate(shifts)]
        shifts = torch.cat(own)
    local = shifts[misfits(shifts).argmin(0)].movedim(-1, 0)
    smooth = _box_sum(local, SMOOTHING) / _box_sum(torch.ones_like(local[0]), SMOOTHING)
    points = identity(tuple(images.shape[-2:]), images)
    found, smoothed = (_geometric_mean(_misfit(after - _sampled(unmoved, points - one))) for one in (local, smooth))
    return local if found < min(smoothed, SHARE * _geometric_mean(every[0])) else None


def _sampled(images: Tensor, position: Tensor) -> Tensor:
    """Return images (pair, y, x) at positions (1, 2, y, x); NaN outside the grid."""
    gap = torch.where(is_inside(position, images.shape[-2:]), 0.0, torch.nan)[:, None]
    return sample(images[None], position).add_(gap)


def _bordered(images: Tensor) -> Tensor:
    """Return images (pair, y, x) with the border that `_moved` needs."""
    return pad(images, (BORDER,) * 4, value=torch.nan)


def _moved(before: Tensor, after: Tensor, corners: Sequence[tuple[int, int]], shifts: Tensor) -> Tensor:
    """Return images (pair, y, x), `_bordered`, moved by shifts (tile, 2), on the tiles of others; NaN outside the grid.

    The tiles of `after` (tile, pair, y, x) begin at `corners`, (x, y). A uniform shift interpolates all points between
    the same two neighbours along y, and along x.
    """
    height, width = after.shape[-2:]
    first = (-shifts).floor()
    right, below = (-shifts - first)[:, :, None, None, None].unbind(1)
    parts = []
    for (x, y), (left, up) in zip(corners, first.int().tolist(), strict=True):
        row, column = y + up + BORDER, x + left + BORDER
        parts.append(before[:, row : row + height + 1, column : column + width + 1])
    around = torch.stack(parts)
    around = torch.lerp(around[..., :-1, :], around[..., 1:, :], below)
    return torch.lerp(around[..., :-1], around[..., 1:], right)


def _refined(
    before: Tensor,
    after: Tensor,
    corners: Sequence[tuple[int, int]],
    shifts: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """Return shifts (tile, 2), see `_moved`, refined by Gauss-Newton iterations on the points of a mask (y, x)."""
    inner = (..., slice(1, -1), slice(1, -1))
    weight_of_mask = None if mask is None else mask[inner].to(after)
    for _ in range(ITERATIONS):
        moved = _moved(before, after, corners, shifts)
        change = after[inner] - moved[inner]
        slope_x = moved[..., 1:-1, 2:] - moved[..., 1:-1, :-2]  # over two blocks
        slope_y = moved[..., 2:, 1:-1] - moved[..., :-2, 1:-1]
        unknown = (change + slope_x).add_(slope_y).mul_(0)  # NaN, or zero
        weight = unknown.add_((change / ERROR).square_()).add_(1).rsqrt_().nan_to_num_()
        if weight_of_mask is not None:
            weight *= weight_of_mask
        terms = torch.stack([slope_x, slope_y, change], dim=1).nan_to_num_()
        products = (weight[:, None] * terms).flatten(2) @ terms.flatten(2).mT
        xx, xy, yy, x, y = (products[:, i, j] for i, j in ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2)))
        damping = 1e-3 * (xx + yy) + 1e-12
        xx, yy = xx + damping, yy + damping
        step = -2 * torch.stack([yy * x - xy * y, xx * y - xy * x], dim=1) / (xx * yy - xy * xy)[:, None]
        shifts = (shifts + step.clamp(-LARGEST_STEP, LARGEST_STEP)).clamp(-REACH, REACH)
    return shifts


def _mean_square(change: Tensor) -> Tensor:
    """Return the mean square of the known differences (tile, pair, y, x) of each tile."""
    square, known = _squares(change)
    return square.flatten(1).sum(1) / known.flatten(1).sum(1).clamp_min(1)


def _misfit(change: Tensor) -> Tensor:
    """Return the logarithm of the misfit about every point (tile, y, x) of differences (tile, pair, y, x)."""
    square, known = _squares(change)
    bounded = square / (1 + square / ERROR**2)
    total, count = _box_sum(torch.stack([bounded.sum(1), known.sum(1)]), AROUND)
    logarithm: Tensor = (total / count.clamp_min(1) + NEGLIGIBLE).log_()
    return logarithm


def _squares(change: Tensor) -> tuple[Tensor, Tensor]:
    """Return squares, zero where a difference is not known (NaN), and ones for those that are."""
    square = change.square()
    return square.nan_to_num(), (square * 0).add_(1).nan_to_num_()


def _box_sum(values: Tensor, size: int) -> Tensor:
    """Return sums over the points of the grid in boxes of `size` points a side about every point (..., y, x)."""
    for axis, reach in ((-1, (size // 2, size // 2)), (-2, (0, 0, size // 2, size // 2))):
        points, width = values.shape[axis], 1
        total = values = pad(values, reach)
        while width < size - 1:  # sums of twice as many; the last value is left
            rest = total.shape[axis] - width
            total = total.narrow(axis, 0, rest) + total.narrow(axis, width, rest)
            width *= 2
        values = total.narrow(axis, 0, points) + values.narrow(axis, width, points)
    return values


def _geometric_mean(logarithms: Tensor) -> float:
    """Return the geometric mean of misfits."""
    return float(logarithms.mean().exp())
