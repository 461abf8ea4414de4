"""Quality flags beside a variable: a note names each and the line that applies it."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from xvar.cf.axes import Axes, attribute

_NAMES = re.compile(r"(^|_)(quality|qc)(_|$)", re.IGNORECASE)
_GOOD = re.compile(r"(^|_)(good|best|acceptable|high|valid|ok|nominal)(_|$)", re.IGNORECASE)
_BAD = re.compile(r"(^|_)(no|not|bad|worst|low|invalid|suspect|doubtful|probably)(_|$)", re.IGNORECASE)


def quality_notes(dataset: xr.Dataset, array: xr.DataArray, axes: Axes) -> list[str]:
    """Return a note for each quality variable on the grid of a variable, with the line that keeps its good values."""
    linked = str(attribute(array, "ancillary_variables") or "").split()
    notes = []
    for name, flags in dataset.data_vars.items():
        if name == array.name or not {axes.y, axes.x} <= set(flags.dims):
            continue
        standard = str(flags.attrs.get("standard_name", ""))
        named = "quality_flag" in standard or bool(_NAMES.search(str(name)))
        if named or (str(name) in linked and "flag_meanings" in flags.attrs):
            label = f"ds[{str(array.name)!r}]"
            notes.append(f"quality: {str(name)!r} is not applied; {label} = {label}.where({_chosen(str(name), flags)}")
    return notes


def _chosen(name: str, flags: xr.DataArray) -> str:
    """Return the condition that keeps the values which the meanings of the flags call good."""
    words = str(flags.attrs.get("flag_meanings", "")).split()
    values = np.atleast_1d(flags.attrs.get("flag_values", ()))
    if not words or len(words) != len(values):
        return f"ds[{name!r}] == ...) keeps its good values"
    good = {value.item(): w for value, w in zip(values, words, strict=True) if _GOOD.search(w) and not _BAD.search(w)}
    if not good:
        meanings = ", ".join(f"{value:g} = {word}" for value, word in zip(values, words, strict=True))
        return f"ds[{name!r}] == ...) keeps one of {meanings}"
    return f"ds[{name!r}].isin({list(good)})) keeps {' and '.join(good.values())}"
