"""Directions of the axes of a grid without a map and valid positions."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cf.grid.records import AXES, grid
from tests.cf.test_axes import images
from xvar.cf.grid import axis_directions
from xvar.errors import Fault, Faults


def refusal(array) -> Fault:
    faults = Faults()
    assert axis_directions(array, AXES, grid(images(), dx=1.0, dy=1.0), faults) is None
    (fault,) = faults
    return fault


@pytest.mark.parametrize(("mapping", "words"), [(None, "no grid mapping"), ("crs", "a grid mapping 'crs'")])
def test_without_positions_or_a_map_north_is_unknown(mapping, words) -> None:
    fault = refusal(images(**({} if mapping is None else {"grid_mapping": mapping})))
    assert (fault.code, fault.variable) == ("north-unknown", "rain")
    assert words in fault.found


def test_positions_that_are_none_are_refused() -> None:
    plane = {name: (("y", "x"), np.full((5, 6), np.nan)) for name in ("lat", "lon")}
    assert refusal(images().assign_coords(plane)).code == "position-invalid"
