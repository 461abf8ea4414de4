"""Recognise an output of xvar, and read its motion."""

from __future__ import annotations

from typing import Literal

import xarray as xr

from xvar.errors import Fault, Faults, InputError
from xvar.plan.configuration import ATTRIBUTE, Configuration
from xvar.plan.images import STEADY

Output = Literal["analysis", "forecast"]
#: Output -> code of its fault, what is expected, and the fix.
_MADE_BY: dict[Output, tuple[str, str, str]] = {
    "analysis": ("not-an-analysis", "an analysis, as assimilate() returns it", "analysis = ds.var4d.assimilate()"),
    "forecast": (
        "not-a-forecast",
        "a forecast, as forecast() returns it",
        'forecast = analysis.var4d.forecast("30min")',
    ),
}

Part = Literal["steady", "total"]
PARTS: tuple[Part, ...] = ("steady", "total")
#: Motion that maps and exports show by default: of rain the transient part of the total follows the noise of one pair.
SHOWN: Part = "steady"


def configuration_of(data: xr.Dataset, *needed: str, output: Output = "analysis") -> Configuration:
    """Return the configuration of the call that made an output, an analysis or a forecast.

    InputError if the attribute ``xvar_configuration`` or one of the `needed` variables or dimensions is missing;
    ``{variable}`` in them is the name of the variable.
    """
    known = Configuration.from_json(data.attrs[ATTRIBUTE]) if ATTRIBUTE in data.attrs else None
    names = [] if known is None else [name.format(variable=known.variable) for name in needed]
    missing = [name for name in names if name not in data and name not in data.dims]
    if known is None or missing:
        code, expected, fix = _MADE_BY[output]
        found = f"a Dataset without {', '.join(missing) or f'the attribute {ATTRIBUTE}'}"
        raise InputError(Fault(found, expected, fix, code=code))
    return known


def motion_of(data: xr.Dataset, part: Part = SHOWN) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the components of the motion: the steady ones (window, y, x), or the total at each step.

    Methods without a steady part, and version 0.1, have the total alone. InputError if there is no such part.
    """
    faults = Faults()
    faults.check_choice("part", part, PARTS, SHOWN)
    faults.raise_if_any()
    u, v = STEADY if part == "steady" and set(STEADY) <= set(data.data_vars) else ("u", "v")
    return data[u], data[v]
