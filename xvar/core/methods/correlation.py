"""First guess of a motion: the displacement at which consecutive images correlate best, as a whole and in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from xvar.core.interpolate import identity, sample
from xvar.core.methods.motion import observed_mean

REACH = 32  # cells: largest displacement in a frame along x and along y
NEAR = 2  # cells about a displacement that count as the same
RIVAL = 0.98  # share of the best peak from which on another one is a rival
HALVED = 0.5  # share of the decorrelation, and of the misfit, that other displacements must leave to count
AROUND = 33  # cells a side of the box in which displacements are compared at a point


@dataclass(frozen=True)
class Displacement:
    """Displacement between consecutive images of each window."""

    cells: Tensor  # (window, 2) along x and y, whole cells in a frame
    peak: Tensor  # (window,), the correlation there, the mean over all pairs
    has_rival: Tensor  # (window,), true if another peak is nearly as high


def displacement(images: Tensor, seconds: Sequence[float], frame: float) -> Displacement:
    r"""Find the displacement at which consecutive images (window, frame, y, x) correlate best; NaN is not observed.

    .. math:: d^* = \arg\max_{|d_i| \le 32} \sum_k \frac{\sum_x a_k(x)\, a_{k+1}(x + d)}{\|a_k\|\, \|a_{k+1}\|}

    with :math:`a_k` the anomaly of image k, zero if nothing was observed, times a Hann window, padded with zeros. Pairs
    of images that are not one frame apart are left out.
    """
    total = _correlation(images, seconds, frame)
    cells, peak = _highest(total)
    local = max_pool2d(total[:, None], 3, stride=1, padding=1)[:, 0]
    rivals = (total == local) & ~_near(total, cells) & (total >= RIVAL * peak[:, None, None])
    return Displacement(cells, peak, (peak > 0) & rivals.flatten(1).any(1))


def local_displacement(images: Tensor, seconds: Sequence[float], frame: float, cells: Tensor) -> Tensor:
    r"""Return the displacement at every point (window, 2, y, x), from that of whole images, `cells` (window, 2).

    It is uniform, unless parts of the images move differently: in each of nine tiles of half the sides another
    displacement is a candidate if it leaves less than half of 1 less the correlation. Every point then has the
    candidate d of the least misfit in a box about it,

    .. math:: d(x) = \arg\min_d \sum_k \overline{\bigl(y_{k+1}(x) - y_k(x - d)\bigr)^2}

    It stays uniform unless d leaves less than half of the misfit, and less than the mean of d over such boxes: a motion
    that varies smoothly, such as a rotation, is found from a uniform guess, and not from one with jumps. Candidates are
    found on blocks of 2 by 2 cells; images of less than 128 cells a side have no tiles.
    """
    rows, columns = images.shape[-2:]
    guess = cells[:, :, None, None].repeat(1, 1, rows, columns)
    if min(rows, columns) < 4 * REACH:
        return guess
    pairs = [index for index in range(1, len(seconds)) if _is_pair(seconds, index, frame)]
    moved = _moved_tiles(avg_pool2d(images, 2), seconds, frame, cells / 2)
    for window in torch.nonzero(moved.any(dim=1)).flatten().tolist():
        tiles = _tiles(images[window, None])[moved[window]]
        candidates, _ = _highest(_correlation(tiles, seconds, frame))
        choices = torch.cat([cells[window, None], candidates]).unique(dim=0)
        misfits = [_misfit(images[window], pairs, int(x), int(y)) for x, y in choices.tolist()]
        local = choices[torch.stack(misfits).argmin(0)].movedim(-1, 0)
        smooth = avg_pool2d(local[None], AROUND, 1, AROUND // 2, count_include_pad=False)[0]
        found, smoothed, uniform = (_misfit_along(images[window], pairs, one) for one in (local, smooth, guess[window]))
        if found < min(smoothed, HALVED * uniform):
            guess[window] = local
    return guess


def _tiles(images: Tensor) -> Tensor:
    """Return nine tiles of half the sides of images (window, frame, y, x): (window * tile, frame, y, x)."""
    rows, columns = (n // 4 for n in images.shape[-2:])
    parts = [
        images[:, :, top : top + 2 * rows, left : left + 2 * columns]
        for top in (0, rows, 2 * rows)
        for left in (0, columns, 2 * columns)
    ]
    return torch.stack(parts, dim=1).flatten(0, 1)


def _moved_tiles(blocks: Tensor, seconds: Sequence[float], frame: float, cells: Tensor) -> Tensor:
    """Return whether another displacement than `cells` (window, 2) leaves half the decorrelation (window, tile)."""
    total = _correlation(_tiles(blocks), seconds, frame, REACH // 2)
    _, peak = _highest(total)
    near = _near(total, cells.repeat_interleave(len(total) // len(cells), dim=0), NEAR // 2)
    common = torch.where(near, total, -1.0).flatten(1).amax(1)
    return (1 - peak < HALVED * (1 - common)).view(len(cells), -1)


def _is_pair(seconds: Sequence[float], index: int, frame: float) -> bool:
    """Return whether an image comes one frame after the one before."""
    return index > 0 and abs(seconds[index] - seconds[index - 1] - frame) < 1e-3 * frame


def _misfit(images: Tensor, pairs: Sequence[int], x: int, y: int) -> Tensor:
    """Return the mean squared difference about every point of images (frame, y, x) and those before, displaced."""
    change = torch.stack([images[index] - images[index - 1].roll((y, x), (0, 1)) for index in pairs])
    both = torch.stack([change.nan_to_num().square().sum(0), change.isfinite().sum(0).to(change)])
    square, count = avg_pool2d(both, AROUND, 1, AROUND // 2)
    mean: Tensor = square / count.clamp_min(1e-6)
    return mean


def _misfit_along(images: Tensor, pairs: Sequence[int], cells: Tensor) -> float:
    """Return the mean squared difference of images (frame, y, x) and those before, displaced by a field (2, y, x)."""
    before, after = (torch.stack([images[index - lag] for index in pairs])[None] for lag in (1, 0))
    change = after - sample(before, identity(tuple(images.shape[-2:]), images) - cells)
    return float(change.square().nanmean())


def _correlation(images: Tensor, seconds: Sequence[float], frame: float, reach: int = REACH) -> Tensor:
    """Return the mean correlation of consecutive images at all displacements (window, y, x), rest in the middle."""
    rows, columns = images.shape[-2:]
    reach_y, reach_x = min(reach, rows // 2), min(reach, columns // 2)
    size = (rows + reach_y, columns + reach_x)
    like: dict[str, Any] = {"dtype": images.dtype, "device": images.device}
    along_y, along_x = (torch.hann_window(n + 2, periodic=False, **like)[1:-1] for n in (rows, columns))
    taper = along_y[:, None] * along_x
    total = images.new_zeros(len(images), 2 * reach_y + 1, 2 * reach_x + 1)
    pairs, before = 0, None
    for index in range(len(seconds)):
        valid, clean, _, mean = observed_mean(images[:, index])
        anomaly = torch.where(valid, clean - mean[:, None, None], 0.0) * taper
        norm = anomaly.square().flatten(1).sum(1).sqrt()[:, None, None]
        after = torch.fft.rfft2(anomaly, s=size), norm
        if before is not None and _is_pair(seconds, index, frame):
            product = torch.fft.irfft2(before[0].conj() * after[0], s=size)
            scale = before[1] * norm
            lags = torch.cat([product[:, -reach_y:], product[:, : reach_y + 1]], dim=1)
            lags = torch.cat([lags[..., -reach_x:], lags[..., : reach_x + 1]], dim=2)
            total = total + torch.where(scale > 0, lags / scale, torch.zeros_like(lags))
            pairs += 1
        before = after
    return total / max(pairs, 1)


def _highest(total: Tensor) -> tuple[Tensor, Tensor]:
    """Return the displacement of the highest correlation (window, 2), rest if none is positive, and its value."""
    peak, best = total.flatten(1).max(1)
    rows, columns = total.shape[1:]
    cells = torch.stack([best % columns - columns // 2, best // columns - rows // 2], dim=1)
    return torch.where(peak[:, None] > 0, cells, torch.zeros_like(cells)).to(total), peak


def _near(total: Tensor, cells: Tensor, distance: int = NEAR) -> Tensor:
    """Return which displacements are within a distance of one in cells (window, 2), or of the nearest in reach."""
    near = torch.ones_like(total, dtype=torch.bool)
    for axis, component in ((1, 1), (2, 0)):
        reach = total.shape[axis] // 2
        shape = [1, -1, 1] if axis == 1 else [1, 1, -1]
        lags = torch.arange(-reach, reach + 1, device=total.device).view(shape)
        near &= (lags - cells[:, component, None, None].clamp(-reach, reach)).abs() <= distance
    return near
