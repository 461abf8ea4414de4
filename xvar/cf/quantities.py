"""Arrays that carry their own units, as pint-xarray makes them, split into numbers and an attribute."""

from __future__ import annotations

from typing import Any

import xarray as xr


def is_quantity(values: Any) -> bool:
    """Return True for a pint.Quantity, without importing pint."""
    return hasattr(values, "magnitude") and hasattr(values, "units")


def without_quantities(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset of plain arrays, with the units of quantities in their attributes; lazy data stay lazy."""
    plain = {}
    for name, variable in dataset.variables.items():
        held: Any = variable._data  # what is lazy stays so
        if is_quantity(held):
            plain[name] = variable.copy(data=held.magnitude, deep=False)
            plain[name].attrs = {**variable.attrs, "units": spelled(held.units)}
    if not plain:
        return dataset
    return dataset.assign({name: v for name, v in plain.items() if name in dataset.data_vars}).assign_coords(
        {name: v for name, v in plain.items() if name in dataset.coords}
    )


def spelled(units: Any) -> str:
    """Return units of pint in a spelling that UDUNITS reads."""
    text = str(units).replace(" ** ", "^")
    return "1" if text == "dimensionless" else text
