"""Quantities of a call in the units of the record."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.units import are_convertible, convert, normalise_units, rain_rate_factor, same_units
from xvar.plan.call import Call


def in_units(
    values: NDArray[Any], field: xr.DataArray, wanted: str, label: str, call: Call, *, difference: bool = False
) -> NDArray[Any]:
    """Return values in the units `wanted`, from those of `field`; note conversions and assumptions.

    `label` names the quantity in messages; of a `difference` 1 K is 1 degree Celsius.
    """
    given = field.attrs.get("units")
    if given is None:
        call.notes.append(f"{label} has no units: taken to be in {wanted!r}")
        return values
    own = normalise_units(str(given))
    if are_convertible(own, wanted):
        if not same_units(own, wanted):
            call.notes.append(
                f"{label} converted from {own!r} to {wanted!r}" + (", as a difference" if difference else "")
            )
        return np.asarray(convert(values, own, wanted, difference=difference)).reshape(values.shape)
    factors = [rain_rate_factor(unit, None) for unit in (own, wanted)]
    fix = f"convert it, and write its attrs['units'] = {wanted!r}"
    if factors[0] is not None and factors[1] is not None:
        # A mass of water and a depth: one is the other by a density that the user states.
        fix = (
            f"xvar.rain_rate(field, convert='liquid_water') takes a litre of liquid water for a kilogram: 1 {own} is "
            f"{factors[0] / factors[1]:.6g} {wanted}"
        )
    elif "dBZ" in (own, wanted):
        fix = "reflectivity is no rain: xvar.rain_rate(reflectivity) makes it one"
    call.faults.add(
        code="units-not-convertible",
        variable=label,
        found=f"units {str(given)!r}",
        expected=f"units that can be converted to {wanted!r}",
        fix=fix,
    )
    return values


def observation_error(
    given: Any, like: xr.DataArray, units: str, order: NDArray[np.intp] | None, call: Call
) -> NDArray[Any] | None:
    """Return standard deviations, broadcastable to images (time, y, x) with their units; None if none are stated.

    `order` is the order of the images in time, if it is not that of the input.
    """
    if given is None:
        return None
    if isinstance(given, xr.DataArray):
        dims = like.dims
        if not set(given.dims) <= set(dims) or any(given.sizes[dim] != like.sizes[dim] for dim in given.dims):
            call.faults.add(
                code="observation-error-dimensions",
                variable="observation_error",
                found=f"dimensions {dict(given.sizes)}",
                expected=f"those of the images, {dict(like.sizes)}, or some of them",
                fix="give a standard deviation for every observation, or one number",
            )
            return None
        if order is not None and dims[0] in given.dims:
            given = given.isel({dims[0]: order})
        whole = given.expand_dims([dim for dim in dims if dim not in given.dims]).transpose(*dims)
        values = np.asarray(whole.values, dtype="float64")
        values = in_units(values, given, units, "observation_error", call, difference=True)
    else:
        try:
            values = np.broadcast_to(np.asarray(given, dtype="float64"), like.shape)
            values = values[tuple(slice(0, 1) if step == 0 else slice(None) for step in values.strides)]
        except (TypeError, ValueError):
            call.faults.add(
                code="observation-error-not-a-number",
                variable="observation_error",
                found=f"observation_error={given!r}",
                expected="a number, in the units of the variable, or a DataArray",
                fix="observation_error=0.1",
            )
            return None
    wrong = ~(values > 0)
    if wrong.any():
        index = tuple(int(axis[0]) for axis in np.nonzero(wrong))
        call.faults.add(
            code="observation-error-not-positive",
            variable="observation_error",
            index=index,
            found=f"{int(wrong.sum())} standard deviations that are not positive, the first {values[index]:g}",
            expected="positive numbers in the units of the variable",
            fix="observation_error=0.1; NaN in the data takes an observation out",
        )
    return values
