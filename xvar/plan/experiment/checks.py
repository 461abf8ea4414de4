"""Quality control of observations beside the record, as `Images` and `Points` state it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from xvar.cf.kinds import Kind
from xvar.errors import Faults
from xvar.plan.bridge import Array
from xvar.quality.control import QualityControl
from xvar.quality.rules import Screen, read_quality

BACKGROUND_CHECK, RANGE = "background_check", "range"


def read_image_quality(
    stated: Mapping[str, Any] | None, screen: Screen, what: Kind, label: str, faults: Faults
) -> QualityControl:
    """Return the rules of images beside the record, with the limits of the range that are stated."""
    limits = read_limits(stated, label, faults)
    rules = {name: part for name, part in (stated or {}).items() if name not in (BACKGROUND_CHECK, RANGE)}
    if stated is not None and RANGE in stated:
        rules[RANGE] = stated[RANGE] is not False
    if limits is not None:
        screen = replace(screen, low=limits[0], high=limits[1])
    return QualityControl(screen, read_quality(rules or None, what, faults, images=False))


def read_limits(stated: Mapping[str, Any] | None, label: str, faults: Faults) -> tuple[float, float] | None:
    """Return the limits of the range; None if none are stated. Report numbers that are none."""
    quality = {} if stated is None else stated
    check, limits = quality.get(BACKGROUND_CHECK, False), quality.get(RANGE, False)
    if check is not False and (isinstance(check, bool) or not isinstance(check, (int, float)) or not check > 0):
        faults.add(
            code="background-check-limit",
            variable=label,
            found=f"background_check={check!r}",
            expected="a positive number of standard deviations of the errors of observation, or False",
            fix='quality={"background_check": 4.0}',
        )
    if isinstance(limits, (bool, np.bool_)):
        return None
    try:
        low, high = (float(limit) for limit in limits)
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not low < high:
        faults.add(
            code="range-limits",
            variable=label,
            found=f"range={limits!r}",
            expected="the lowest and the highest value, or True or False",
            fix='quality={"range": (0.0, 60.0)}',
        )
        return None
    return low, high


def outside_range(values: Array, stated: Mapping[str, Any] | None, label: str, faults: Faults) -> Array:
    """Return which values of points are outside the range that is stated; report rules that points do not have."""
    limits = read_limits(stated, label, faults)
    for name in sorted({*(stated or {})} - {RANGE, BACKGROUND_CHECK}):
        faults.add(
            code="unknown-rule",
            variable=label,
            found=f"quality of points with the rule {name!r}",
            expected=f"{RANGE!r} or {BACKGROUND_CHECK!r}",
            fix='quality={"range": (0.0, 60.0), "background_check": 4.0}',
        )
    if limits is None:
        return np.zeros(values.shape, dtype=bool)
    return np.asarray((values < limits[0]) | (values > limits[1]))
