"""Comparison of results bit by bit, and empty values of options, which change none."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xvar.observation import Images

EMPTY: dict[str, Any] = {
    "penalties": (),
    "parameters": {},
    "background_error": {},
    "model_error": {},
    "observation": Images(),
    "background": xr.Dataset(),
    "quality": {},
    "save": [],
}


def differing(one: xr.Dataset, other: xr.Dataset) -> list[str]:
    """Names whose bits differ, or that only one of two results has."""
    shared = set(one.variables) & set(other.variables)
    changed = {
        name
        for name in shared
        if not np.array_equal(one[name].values, other[name].values, equal_nan=one[name].dtype.kind == "f")
    }
    return sorted(map(str, (set(one.variables) ^ set(other.variables)) | changed))
