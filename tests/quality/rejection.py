"""Values that the default rules reject."""

from __future__ import annotations

import numpy as np

from xvar.cf.kinds import Kind
from xvar.errors import Faults
from xvar.quality.control import QualityControl
from xvar.quality.rules import Screen, read_quality


def control(kind: Kind, option: object = None) -> QualityControl:
    """Return the quality control of a kind of variable in usual units."""
    faults = Faults()
    units = {
        "rain": "mm h-1",
        "reflectivity": "dBZ",
        "sea_temperature": "degree_Celsius",
        "temperature": "degree_Celsius",
        "other": "m",
    }[kind]
    rules = read_quality(option, kind, faults)
    faults.raise_if_any()
    return QualityControl(Screen.of("a", kind, units, None), rules)


def rejected(window: np.ndarray, kind: Kind, option: object = None) -> np.ndarray:
    """Return the values (frame, y, x) of one window that quality control takes as missing."""
    clean, counts = control(kind, option)(window[None])
    result = np.isnan(clean[0]) & ~np.isnan(window)
    assert counts.sum() == result.sum()
    return result
