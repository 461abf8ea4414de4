"""Spacing as stated."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cf.grid.records import grid, on, refusal
from tests.cf.test_axes import images


def test_stated_spacing():
    result = grid(images(), dx=1200, dy=1000.0)
    assert result.spacing == (1000.0, 1200.0)
    assert result.metric is None
    assert (result.kind, result.ascending) == ("index", (True, True))


def test_stated_spacing_keeps_the_direction_of_the_coordinates():
    assert grid(on(np.arange(5.0)[::-1], np.arange(6.0)), dx=1.0, dy=1.0).ascending == (False, True)


@pytest.mark.parametrize(("dx", "dy"), [(None, 1.0), (1.0, None), (0.0, 1.0), (-5, 1.0), (np.nan, 1), ("wide", 1)])
def test_half_or_no_spacing_stated(dx, dy):
    assert "both dx= and dy=" in refusal(images(), dx=dx, dy=dy)


def test_stated_spacing_of_coordinates_that_go_to_and_fro():
    text = refusal(on(np.array([0.0, 1.0, 3.0, 2.0, 4.0]), np.arange(6.0)), dx=1.0, dy=1.0)
    assert "index 3: found 2 at index 3 after 3: not monotonic" in text
