"""Artefacts of weather radars: frames that were not made, echoes of the ground, blocked beams.

No rain that moves can look like these: each rule compares all frames of a window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.quality.values import Floats, Mask

#: Fewest frames with values in which an echo can be called constant.
FRAMES = 3

#: Smallest share of wet pixels in the frames around a dry frame: no rain ends and begins within a frame.
RAINING = 0.05

#: A constant echo varies by at most this share of its mean; an isolated echo exceeds its neighbours by this share.
STEADY, STANDING = 0.35, 0.5

#: Half width of the box, in pixels, in which an echo of the ground is one of few isolated echoes, and their number:
#: rain of cells of a pixel or two that hardly move has more.
BOX, ISOLATED = 7, 6

#: Fewest pixels at the edge of a blocked sector, their share of all edges of heavy rain, and half the greatest width of
#: a sector in pixels.
EDGE, EDGES, SECTOR = 20, 0.5, 24

#: A pixel and its neighbours in its row and column.
CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)


def dry_frames(window: Floats) -> Mask:
    """Return the frames (frame, 1, 1) without any echo between frames of rain."""
    least = np.nanmin(window)
    with np.errstate(invalid="ignore"):
        share = np.array([np.count_nonzero(frame > least) / max(np.isfinite(frame).sum(), 1) for frame in window])
    seen = np.isfinite(window).any(axis=(1, 2))
    around = np.array([min(share[[i for i in (k - 1, k + 1) if 0 <= i < len(share)]]) for k in range(len(share))])
    # The first and the last frame have one neighbour; the frame behind that has to rain as well.
    around[0], around[-1] = share[1:3].min(), share[-3:-1].min()
    return np.asarray(seen & (share == 0) & (around >= RAINING))[:, None, None]


def ground_echoes(window: Floats) -> Mask:
    """Return the pixels (y, x) of isolated echoes that are constant over the window.

    Each exceeds all but four of the 24 pixels around it by half in every frame. If most echoes are constant, nothing
    moves and none of them is rejected.
    """
    from scipy import ndimage

    moving = _moving_echoes(window)
    if moving is None:
        return np.zeros(window.shape[1:], dtype=bool)
    window, base, steady, strength = moving
    found = steady & (window.mean(axis=0) - base > STANDING * strength)
    pixels = np.nonzero(found)
    if pixels[0].size == 0:
        return np.asarray(found)
    found[pixels] = np.all([_stands_out(frame, base, pixels) for frame in window], axis=0)
    mean = np.where(np.isfinite(window), window, base).mean(axis=0)
    isolated = found.copy()
    wet = np.nonzero(mean > base)
    isolated[wet] |= _stands_out(mean, base, wet)
    # The mask is mirrored at its edges.
    inside = ndimage.convolve(isolated.astype(int), np.ones((2 * BOX + 1, 2 * BOX + 1), int), mode="reflect")
    return np.asarray(found & (inside <= ISOLATED))


def blocked_sectors(window: Floats) -> Mask:
    """Return the pixels (y, x) that are always dry, beside heavy rain that ends at the same line in every frame.

    Rain fades out at its edges, and moves: of 33 windows of nine radars without such a sector 26 had no such line at
    all, and the others 1 % of the length of their edges. Rain that is constant beside the line gives no evidence.
    """
    from scipy import ndimage

    def beside(pixels: Mask, **limits: Any) -> Mask:
        return np.asarray(ndimage.binary_dilation(pixels, CROSS, **limits))

    moving = _moving_echoes(window)
    if moving is None:
        return np.zeros(window.shape[1:], dtype=bool)
    window, base, steady, strength = moving
    heavy = window > base + STANDING * strength
    with np.errstate(invalid="ignore"):
        dry = window <= base
    always_dry = dry.all(axis=0)
    line = always_dry & beside(heavy.all(axis=0) & ~steady)
    edges = float(np.mean([np.count_nonzero(d & beside(h)) for d, h in zip(dry, heavy, strict=True)]))
    if np.count_nonzero(line) < max(EDGE, EDGES * edges):
        return np.zeros_like(line)
    return beside(line, iterations=SECTOR, mask=always_dry)


def _moving_echoes(window: Floats) -> tuple[Floats, float, Mask, float] | None:
    """Return the frames with values, the least value, the pixels (y, x) of constant echo, and the mean echo over it.

    The least value is no echo. None without motion: if most wet pixels are constant, or frames are too few.
    """
    base = float(np.nanmin(window))
    window = window[np.isfinite(window).any(axis=(1, 2))]
    echoes = np.isfinite(window) & (window > base)
    with np.errstate(invalid="ignore"):  # NaN in any frame: not known
        mean = window.mean(axis=0) - base
        steady = (mean > 0) & (window.max(axis=0) - window.min(axis=0) <= STEADY * mean)
    if len(window) < FRAMES or 2 * np.count_nonzero(steady) > np.count_nonzero(echoes.any(axis=0)):
        return None
    return window, base, np.asarray(steady), float(window[echoes].mean()) - base if echoes.any() else np.inf


def _stands_out(frame: Floats, base: float, pixels: tuple[NDArray[np.intp], ...]) -> Mask:
    """Return which pixels exceed all but four of the 24 around them by a share of their echo; missing counts as dry."""
    padded = np.pad(np.where(np.isfinite(frame), frame, base), 2, constant_values=base)
    around = np.stack([padded[pixels[0] + i, pixels[1] + j] for i in range(5) for j in range(5) if (i, j) != (2, 2)])
    return np.asarray(frame[pixels] - np.partition(around, -5, axis=0)[-5] > STANDING * (frame[pixels] - base))
