"""What instruments add to images and weather does not: taken out of a window by what all its frames show.

Each rule looks at one window alone, asks for what no motion of the field itself can give, and takes nothing out of
records that have no such thing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.cf.units import Kind

Floats = NDArray[Any]
Mask = NDArray[np.bool_]

#: Below so many frames nothing can be said to stay.
FRAMES = 3

#: Share of the points that rain in the frames around one that is dry altogether: no rain ends and begins so.
RAINING = 0.05

#: An echo of the ground keeps its strength to this share from frame to frame, and stands above those around it by half.
STEADY, STANDING = 0.35, 0.5

#: A blocked sector has a line of so many points, this share of all edges of rain; half its width in points at most.
LINE, LINES, SECTOR = 20, 0.2, 24

#: A broken line of a scanner differs from those beside it by so many deviations of a pixel from its neighbours, over so
#: many points.
BROKEN, ALONG = 6.0, 20

#: Points from the edge of a cloud that its rim may colour, and how much colder than at other times, in deviations.
RIM, COLD = 3, 6.0


def artefacts(window: Floats, kind: Kind) -> Mask:
    """Values of a window that are none of the field's.

    Parameters
    ----------
    window : array (frame, y, x)
        NaN where nothing was observed.
    kind : str
        What is measured.

    Returns
    -------
    array of bool (frame, y, x)
        Frames without any echo between frames of rain; points of the ground, constant in time and above all around
        them; sectors where the beam is blocked; the cold rims of clouds; broken lines of a scanner.
    """
    none = np.zeros(window.shape, dtype=bool)
    if len(window) < FRAMES or not np.isfinite(window).any():
        return none
    if kind in ("rain", "reflectivity"):
        values = window.astype("float64")
        dry = dry_frames(values)
        others = values[~dry]  # dry images say nothing of what is constant in the others
        fixed = ground(others) | blocked(others) if len(others) >= FRAMES else np.zeros(values.shape[1:], dtype=bool)
        return np.asarray(dry[:, None, None] | fixed[None] & np.isfinite(values))
    if kind == "temperature":
        values = window.astype("float64")
        return cloud_rims(values) | broken_lines(values)
    return none


def dry_frames(window: Floats) -> NDArray[np.bool_]:
    """Frames (frame,) that are dry altogether while those before and after rain: an image that was not made."""
    least = np.nanmin(window)
    with np.errstate(invalid="ignore"):
        share = np.array([np.count_nonzero(frame > least) / max(np.isfinite(frame).sum(), 1) for frame in window])
    seen = np.isfinite(window).any(axis=(1, 2))
    around = np.array([min(share[[i for i in (k - 1, k + 1) if 0 <= i < len(share)]]) for k in range(len(share))])
    # At an end of the window there is one neighbour; the frame behind that has to rain as well.
    around[0], around[-1] = share[1:3].min(), share[-3:-1].min()
    return np.asarray(seen & (share == 0) & (around >= RAINING))


def ground(window: Floats) -> Mask:
    """Points (y, x) that stand as high in every frame, each far above all but a few of the points around it."""
    with np.errstate(invalid="ignore"):
        low, high = window.min(axis=0), window.max(axis=0)  # NaN where a frame has no value
        mean = window.mean(axis=0)
        base = np.nanmin(window)
        candidates = (high - low <= STEADY * (mean - base)) & (mean - base > STANDING * (_typical(window) - base))
    found = np.zeros(low.shape, dtype=bool)
    rows, columns = np.nonzero(candidates)
    if rows.size == 0:
        return found
    padded = np.pad(window, ((0, 0), (2, 2), (2, 2)), constant_values=np.nan)
    ring = [(i, j) for i in range(5) for j in range(5) if (i, j) != (2, 2)]
    around = np.stack([padded[:, rows + i, columns + j] for i, j in ring])
    around = np.where(np.isfinite(around), around, base)
    # All but four: other points of the ground may stand beside it.
    near = np.partition(around, -5, axis=0)[-5]
    standing = (window[:, rows, columns] - near) > STANDING * (window[:, rows, columns] - base)
    found[rows, columns] = standing.all(axis=0)
    return found


def blocked(window: Floats) -> Mask:
    """Points (y, x) where nothing is ever seen, beside heavy rain that stops at the same line in every frame.

    Rain fades out at its edges, and moves: of 33 windows of nine radars without such a sector 26 had no such line at
    all, and the others 1% of the length of their edges.
    """
    found = np.zeros(window.shape[1:], dtype=bool)
    base = np.nanmin(window)
    heavy = window > base + STANDING * (_typical(window) - base)
    with np.errstate(invalid="ignore"):
        dry = window <= base
    never = dry.all(axis=0)
    line = never & _beside(heavy.all(axis=0))
    lines = float(np.mean([np.count_nonzero(d & _beside(h)) for d, h in zip(dry, heavy, strict=True)]))
    if np.count_nonzero(line) < max(LINE, LINES * lines):
        return found
    for _ in range(SECTOR):
        line = line | never & _beside(line)
    return np.asarray(line)


def _typical(window: Floats) -> float:
    """The mean of what is seen; infinite where nothing is."""
    base = np.nanmin(window)
    return float(window[window > base].mean()) if (window > base).any() else np.inf


def _beside(mask: Mask) -> Mask:
    """Points whose neighbour in the row or the column is in a mask."""
    result = np.zeros(mask.shape, dtype=bool)
    result[1:] |= mask[:-1]
    result[:-1] |= mask[1:]
    result[:, 1:] |= mask[:, :-1]
    result[:, :-1] |= mask[:, 1:]
    return result


def cloud_rims(window: Floats) -> Mask:
    """Points beside what is missing in their frame alone that are far colder than the same points at other times."""
    missing = ~np.isfinite(window)
    clouds = missing & ~missing.all(axis=0)
    rejected = np.zeros(window.shape, dtype=bool)
    times = (~missing).sum(axis=0)
    if not clouds.any() or not (times >= 3).any():
        return rejected
    usual = np.full(window.shape[1:], np.nan)
    usual[times >= 3] = np.nanmedian(window[:, times >= 3], axis=0)
    # The median of two is half way to the one that is wrong: the warmer of them is what is usual.
    usual[times == 2] = np.nanmax(window[:, times == 2], axis=0)
    anomaly = window - usual
    deviation = 1.4826 * np.nanmedian(np.abs(anomaly[:, times >= 3]))
    if deviation == 0:
        return rejected
    with np.errstate(invalid="ignore"):
        return np.asarray(_grown(clouds, RIM) & (anomaly < -COLD * deviation))


def broken_lines(window: Floats) -> Mask:
    """Rows and columns of a frame that stand apart from both beside them, all along and by more than pixels do."""
    found = np.zeros(window.shape, dtype=bool)
    for frame, mask in zip(window, found, strict=True):
        for values, lines in ((frame, mask), (frame.T, mask.T)):
            apart, pixels = line_differences(values)
            peak = np.abs(np.pad(np.nan_to_num(apart), 1))
            highest = (peak[1:-1] >= peak[:-2]) & (peak[1:-1] >= peak[2:])  # those beside a broken line differ by half
            lines[1:-1][highest & (peak[1:-1] > BROKEN * pixels)] = True
    return found & np.isfinite(window)


def line_differences(values: Floats) -> tuple[Floats, float]:
    """Median difference of each line (y,) from the mean of both beside it, and the usual one of a pixel.

    NaN where too few points are known; the first and the last line have none.
    """
    apart = values[1:-1] - (values[:-2] + values[2:]) / 2
    known = np.isfinite(apart).sum(axis=1) >= ALONG
    result = np.full(len(apart), np.nan)
    if not known.any():
        return result, np.inf
    result[known] = np.nanmedian(apart[known], axis=1)
    return result, 1.4826 * float(np.nanmedian(np.abs(apart[known])))


def _grown(mask: Mask, points: int) -> Mask:
    """A mask (frame, y, x) and what lies within some points of it."""
    for axis in (1, 2):
        size = mask.shape[axis]
        wide = mask.copy()
        for shift in range(1, points + 1):
            ahead, behind = (
                tuple(slice(*s) if i == axis else slice(None) for i in range(3))
                for s in ((shift, None), (None, size - shift))
            )
            wide[ahead] |= mask[behind]
            wide[behind] |= mask[ahead]
        mask = wide
    return mask
