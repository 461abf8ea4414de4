"""Which way the axes of a grid go, where nothing or nothing good says so."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cf.grid.records import AXES, grid
from tests.cf.test_axes import images, message
from xvar.cf.directions import axis_directions
from xvar.errors import Faults


def refusal(array) -> str:
    faults = Faults()
    assert axis_directions(array, AXES, grid(images(), dx=1.0, dy=1.0), faults) is None
    return message(faults)


@pytest.mark.parametrize(
    ("mapping", "words"), [(None, "no grid mapping"), ("crs", "a grid mapping 'crs' that is missing or cannot be read")]
)
def test_without_positions_or_a_map_nothing_says_where_north_is(mapping, words) -> None:
    assert refusal(images(**({} if mapping is None else {"grid_mapping": mapping}))) == (
        "variable 'rain': found a grid of which nothing says where north is: no 2-D latitude and longitude, and "
        f"{words}; expected a readable grid mapping, or 2-D latitude and longitude; fix: add the coordinates before "
        "the analysis, ds.assign_coords(lat=(('y', 'x'), ...), lon=...)"
    )


def test_positions_that_are_none_are_refused() -> None:
    plane = {name: (("y", "x"), np.full((5, 6), np.nan)) for name in ("lat", "lon")}
    assert "30 of 30 points without latitude or longitude" in refusal(images().assign_coords(plane))
