"""Grids of 2-D latitude and longitude."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.geodesy import EARTH_RADIUS, Floats, mapping_name, neighbour_spacing
from xvar.cf.grid.base import HorizontalGrid, mean_spacing
from xvar.cf.grid.line import Line
from xvar.cf.grid.projected import by_mapping
from xvar.errors import Faults

#: Lengths by the mapping and by latitude and longitude that differ more than any choice of ellipsoid explains.
INCONSISTENT = 0.02

#: Neighbours so many times farther apart than most are none: one of them is not where it stands.
FARTHEST = 50.0


def curvilinear_grid(
    array: xr.DataArray,
    plane: tuple[Floats, Floats],
    lines: tuple[Line, Line] | None,
    orientation: tuple[bool, bool],
    shape: tuple[int, int],
    faults: Faults,
    reference: Any | None,
) -> HorizontalGrid | None:
    """Spacing by great circles, to check the spacing of the grid mapping, if there is one."""
    ascending = orientation if lines is None else (lines[0].ascending, lines[1].ascending)
    metric = neighbour_spacing(*plane)
    metric = metric[:, :: 1 if ascending[0] else -1, :: 1 if ascending[1] else -1].copy()
    if metric.min() <= 0:
        _, row, column = np.unravel_index(int(metric.argmin()), metric.shape)
        faults.add(
            code="position-repeated",
            variable=array.name,
            index=(int(row), int(column)),
            found="neighbouring points at the same latitude and longitude",
            expected="a position of its own for every point",
            fix="correct the 2-D latitude and longitude, or drop them and state dx=, dy=",
        )
        return None
    ratio = metric / np.median(metric, axis=(1, 2), keepdims=True)
    if ratio.max() > FARTHEST:
        axis, row, column = np.unravel_index(int(ratio.argmax()), metric.shape)
        faults.add(
            code="position-outlier",
            variable=array.name,
            index=(int(row), int(column)),
            found=f"a point {metric[axis, row, column] / 1e3:.4g} km from its neighbours, where most are "
            f"{np.median(metric[axis]) / 1e3:.4g} km apart",
            expected="smooth 2-D latitude and longitude",
            fix="correct the 2-D latitude and longitude, or drop them and state dx=, dy=",
        )
        return None
    by_map = None if lines is None or reference is None or reference.is_geographic else by_mapping(lines, reference)
    if by_map is not None:
        difference = float(np.abs(by_map / metric - 1).max())
        if difference > INCONSISTENT:
            faults.add(
                code="mapping-inconsistent",
                variable=array.name,
                found=f"a grid mapping ({mapping_name(array)}) whose spacing differs by {difference:.1%} from that of "
                "the 2-D latitude and longitude",
                expected=f"spacings that agree to {INCONSISTENT:.0%}",
                fix="correct the grid mapping or the coordinates, or drop the one that is wrong",
            )
            return None
    return HorizontalGrid(
        shape,
        mean_spacing(metric),
        metric,
        ascending,
        "curvilinear" if lines is None else "projected",
        False,
        f"from 2-D latitude and longitude, great circles on a sphere of {EARTH_RADIUS / 1e3:g} km",
    )
