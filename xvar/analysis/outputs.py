"""Recognise an output of xvar."""

from __future__ import annotations

from typing import Literal

import xarray as xr

from xvar.errors import Fault, InputError
from xvar.plan.configuration import ATTRIBUTE, Configuration

Output = Literal["analysis", "forecast"]
_MADE_BY: dict[Output, tuple[str, str]] = {
    "analysis": ("an analysis, as assimilate() returns it", "analysis = ds.var4d.assimilate()"),
    "forecast": ("a forecast, as forecast() returns it", 'forecast = analysis.var4d.forecast("30min")'),
}


def configuration_of(data: xr.Dataset, *needed: str, output: Output = "analysis") -> Configuration:
    """Return the configuration of the call that made an output, an analysis or a forecast.

    InputError if the attribute ``xvar_configuration`` or one of the `needed` variables or dimensions is missing;
    ``{variable}`` in them is the name of the variable.
    """
    known = Configuration.from_json(data.attrs[ATTRIBUTE]) if ATTRIBUTE in data.attrs else None
    names = [] if known is None else [name.format(variable=known.variable) for name in needed]
    missing = [name for name in names if name not in data and name not in data.dims]
    if known is None or missing:
        expected, fix = _MADE_BY[output]
        code = "not-an-analysis" if output == "analysis" else "not-a-forecast"
        found = f"a Dataset without {', '.join(missing) or f'the attribute {ATTRIBUTE}'}"
        raise InputError(Fault(found, expected, fix, code=code))
    return known
