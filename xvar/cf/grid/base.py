"""A horizontal grid in metres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xvar.cf.geodesy import Floats

GridKind = Literal["projected", "geographic", "curvilinear", "index"]


@dataclass(frozen=True)
class HorizontalGrid:
    """A horizontal grid in metres.

    Attributes
    ----------
    shape : tuple of int
        (ny, nx).
    spacing : tuple of float
        (dy, dx), representative, positive, metres.
    metric : ndarray of float64 or None
        (2, ny, nx), true local (dy, dx) in metres with both coordinates ascending; None if spacing is uniform.
    ascending : tuple of bool
        Whether y and x ascend along the index in the file.
    kind : {"projected", "geographic", "curvilinear", "index"}
        Geographic axes run east and north; all others are relative to the grid.
    periodic_x : bool
        The columns go once around the Earth.
    description : str
        Where the metres come from, in words.
    """

    shape: tuple[int, int]
    spacing: tuple[float, float]
    metric: NDArray[np.float64] | None
    ascending: tuple[bool, bool]
    kind: GridKind
    periodic_x: bool
    description: str


def mean_spacing(metric: Floats) -> tuple[float, float]:
    """The spacing (dy, dx) that stands for a metric."""
    return float(metric[0].mean()), float(metric[1].mean())
