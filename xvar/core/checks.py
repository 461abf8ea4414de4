"""Checks that several specifications share."""

from __future__ import annotations

import math
from collections.abc import Mapping

from xvar.core.grid import Grid
from xvar.errors import Faults


def check_plane(grid: Grid, faults: Faults) -> None:
    """Add a fault if a grid has not two axes."""
    if len(grid.shape) != 2:
        faults.add(
            code="grid-not-2d",
            found=f"a grid of shape {grid.shape}",
            expected="two axes (y, x)",
            fix="a grid (y, x); on other grids xvar.covariance.Diagonal(std=1.0)",
        )


def check_numbers(
    specification: object, examples: Mapping[str, float], faults: Faults, *, zero_allowed: bool = False
) -> None:
    """Add a fault for each named attribute that is not positive (or not negative, with `zero_allowed`) and finite.

    `examples` holds a typical value of each for the fix.
    """
    for name, example in examples.items():
        value = getattr(specification, name)
        if not 0 <= value < math.inf or (value == 0 and not zero_allowed):
            faults.add(
                code="negative-number" if zero_allowed else "number-not-positive",
                found=f"{name}={value}",
                expected="a finite number, zero or more" if zero_allowed else "a positive finite number",
                fix=f"{name}={example:g}",
            )
