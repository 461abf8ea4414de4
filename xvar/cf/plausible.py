"""Metadata that contradict one another or the values: a fault, or a warning if they are merely unusual."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xvar.cf.axes import is_lazy
from xvar.cf.faults import add
from xvar.cf.kinds import Kind, kind, standard_name
from xvar.cf.units import rain_rate_factor
from xvar.errors import Faults, InputWarning, warn

#: mm h-1 that no radar has measured over some minutes and a pixel, and metres between pixels that no radar has.
_MOST_RAIN, _FINEST = 1000.0, 10.0
_MEASURED: tuple[Kind, ...] = ("rain", "reflectivity", "temperature")


def check_units_of_name(array: xr.DataArray, units: str, faults: Faults) -> None:
    """Add a fault if the standard name is that of one quantity and the units are those of another."""
    name = standard_name(array)
    meant = kind(xr.DataArray(attrs={"standard_name": name})) if name else "other"
    meant = "temperature" if meant == "sea_temperature" else meant
    stated = kind(xr.DataArray(attrs={"units": units}))
    if meant in _MEASURED and stated in _MEASURED and meant != stated:
        found = f"units {units!r} of the standard_name {name!r}: {stated}, where the name says {meant}"
        add(faults, "units-of-other-quantity", found, array.name)


def warn_of_unusual(image: xr.DataArray, what: Kind, units: str, spacing: tuple[float, ...]) -> None:
    """Warn of rain heavier, or pixels nearer to one another, than they can be; values of lazy data are not read."""
    if what not in ("rain", "reflectivity"):
        return
    if min(spacing) < _FINEST:
        text = f"variable {image.name!r}: pixels {min(spacing):.3g} m apart; if x and y are in km, write their units,"
        warn(f"{text} ds['x'].attrs['units'] = 'km'; dx= and dy= state metres", InputWarning)
    factor = rain_rate_factor(units, None) if what == "rain" else None
    if factor is None or is_lazy(image):
        return
    most = float(image.max()) * factor if np.isfinite(image).any() else 0.0
    if most > _MOST_RAIN:
        text = f"variable {image.name!r}: rain of up to {most:.4g} mm h-1 by its units {units!r};"
        warn(f"{text} units= states others, quality control rejects single gross errors", InputWarning)


def without_packing_error(image: xr.DataArray, what: Kind, packed: xr.DataArray, notes: list[str]) -> xr.DataArray:
    """Return rain with zero for negative values within the error of packing, or of single precision; `notes` has them.

    `packed` is the variable as it was read, with its encoding.
    """
    if what != "rain" or image.dtype.kind != "f":
        return image
    step = abs(float(packed.encoding.get("scale_factor", 0.0)))
    lazy = is_lazy(image)
    if not lazy and not bool((image < 0).any()):
        return image
    if step:
        error = 0.5 * step * (1 + 1e-6)
    elif lazy:
        return image
    else:
        error = float(np.finfo("float32").eps) * float(abs(image).max())
    near = (image < 0) & (image >= -error)
    if not lazy and not bool(near.any()):
        return image
    if not lazy:
        notes.append(f"{int(near.sum())} negative values within the packing error of {error:.2g} are zero")
    return image.where(~near, np.asarray(0.0, dtype=image.dtype)[()]).assign_attrs(image.attrs)
