"""Land points of a grid: a mask of the file, a mask of the user, or pixels that are never valid."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, in_memory, is_lazy, is_number
from xvar.cf.faults import add
from xvar.cf.grid.coordinates import on_grid
from xvar.cf.kinds import kind
from xvar.errors import Faults, InputWarning, nearest, warn

Mask = NDArray[np.bool_]

_LAND = re.compile(r"(^|[^a-z])(land|ground|continent|terrestrial)([^a-z]|$)", re.IGNORECASE)
_WATER = re.compile(r"(^|[^a-z])(water|sea|ocean|wet|marine)([^a-z]|$)", re.IGNORECASE)
_LAND_NAMES = frozenset({"land_binary_mask", "land_area_fraction"})
_SEA_NAMES = frozenset({"sea_binary_mask", "sea_area_fraction"})
#: Value of land in masks of 0 and 1 without attributes, by the variable names of ECMWF, WRF, ROMS, NEMO and MOM.
_BY_NAME = {
    **dict.fromkeys(("lsm", "land", "landmask", "land_mask", "land_sea_mask", "is_land"), 1),
    **dict.fromkeys(("mask_rho", "tmask", "wet", "wet_c", "sea_mask", "ocean_mask", "water_mask"), 0),
}


def find_land(
    dataset: xr.Dataset, array: xr.DataArray, axes: Axes, land: Hashable | xr.DataArray | None, faults: Faults
) -> tuple[Mask | None, str]:
    """Return the land points (y, x) in the order of the file, or None, and the origin of the mask for the output.

    `land` is the name of a mask, a mask (True on land, or CF flags), ``"never_valid"``: pixels without a value in any
    frame (one reduction, computed if lazy), or None: the mask of the file whose flags or standard name state land.
    Radar echoes have no land by default. Lazy and in-memory data give the same bits. A mask that is absent, on another
    grid or without a clear meaning is a fault; InputWarning if pixels in memory are never valid and neither `land` nor
    the file has a mask.
    """
    if isinstance(land, xr.DataArray):
        return _stated(land, array, axes, faults, "the mask that was given")
    if land is not None and land in dataset.variables:
        return _stated(dataset[land], array, axes, faults, f"variable {str(land)!r}")
    if land == "never_valid":
        never = ~_ever_valid(array, axes)
        if not never.any():
            return None, "no land: every point has a value in some frame"
        if never.all():  # a fault of its own, reported elsewhere
            return None, "no land: no point has a value"
        return never, _statement(never, "never valid in the record")
    if land is not None:
        names = ["never_valid", *map(str, dataset.variables)]
        fix = nearest(land, names, 'land="never_valid"')
        add(faults, "land-unknown", f"land={str(land)!r}, no variable of the dataset", land, fix=fix)
        return None, "no land"
    if kind(array) in ("rain", "reflectivity"):
        return None, "no land: rain moves over land and sea"
    for name in dataset.variables:
        mask = _of_file(dataset[name], array, axes)
        if mask is not None:
            return mask, _statement(mask, f"variable {str(name)!r}")
    if is_lazy(array):
        return None, 'no land: no mask in the file; land="never_valid" makes land of pixels that are never valid'
    never = ~_ever_valid(array, axes)
    count = int(never.sum())
    if count and not never.all():
        warn(
            f"variable {str(array.name)!r}: {count} of {never.size} pixels have no value in any frame and are not "
            'observed; if they are land, pass land="never_valid" or a mask, land=ds["mask"] == 0',
            InputWarning,
        )
    return None, "no land: no mask in the file" + (f"; {count} pixels are never valid: not observed" if count else "")


def _ever_valid(array: xr.DataArray, axes: Axes) -> Mask:
    """Return a mask (y, x), True if any frame has a finite value."""
    others = [dim for dim in array.dims if dim not in (axes.y, axes.x)]
    finite: xr.DataArray = array.notnull() & (abs(array) < np.inf)
    return np.asarray(finite.any(others).transpose(axes.y, axes.x).values)


def _of_file(mask: xr.DataArray, array: xr.DataArray, axes: Axes) -> Mask | None:
    """Return land by a mask on the grid of the variable that states its meaning and has both land and water."""
    extra = set(mask.dims) - {axes.y, axes.x}
    in_plane = len(set(mask.dims)) == mask.ndim == len(extra) + 2
    if mask.name == array.name or not in_plane or any(mask.sizes[dim] > 1 for dim in extra - {axes.time}):
        return None
    land = land_by_flags(mask)
    if land is None:
        return None
    values = np.asarray(in_memory(land.all(list(extra)).transpose(axes.y, axes.x)))
    return values if values.any() and not values.all() else None


def land_by_flags(mask: xr.DataArray) -> xr.DataArray | None:
    """Return land (bool, lazy if the mask is) by the standard name or flags of CF or ROMS (``option_0``), else None."""
    import cf_xarray  # noqa: F401  (registers .cf)

    if not (is_number(mask) or mask.dtype == bool):
        return None
    standard = str(mask.attrs.get("standard_name"))
    if standard in _LAND_NAMES | _SEA_NAMES:
        above = mask > 0.5
        return above if standard in _LAND_NAMES else ~above
    options = {str(text): int(key[7:]) for key, text in mask.attrs.items() if re.fullmatch(r"option_\d+", str(key))}
    if options:
        attrs: dict[str, Any] = {"flag_meanings": " ".join(options), "flag_values": list(options.values())}
    else:
        attrs = {k: np.atleast_1d(mask.attrs[k]) for k in ("flag_values", "flag_masks") if k in mask.attrs}
        attrs["flag_meanings"] = " ".join(str(mask.attrs.get("flag_meanings", "")).split())
    meanings = attrs["flag_meanings"].split()
    numbers = [attrs[key] for key in ("flag_values", "flag_masks") if key in attrs]
    if not numbers or any(np.asarray(n).dtype.kind not in "iuf" or len(n) != len(meanings) for n in numbers):
        return None
    land = [word for word in meanings if _LAND.search(word)]
    water = [word for word in meanings if _WATER.search(word)]
    # Bits are independent of each other: water alone does not exclude land.
    if not land and (not water or "flag_masks" in attrs):
        return None
    if "flag_masks" in attrs:  # bits of integers; decoding made floats of them where there is a fill value
        mask = mask.fillna(0).astype(np.int64)
        attrs = {key: np.asarray(n).astype(np.int64) if key != "flag_meanings" else n for key, n in attrs.items()}
    flags = mask.assign_attrs(attrs).cf.flags
    found: xr.DataArray = flags[land or water].to_array("meaning").any("meaning")
    return found if land else ~found


def _stated(
    mask: xr.DataArray, array: xr.DataArray, axes: Axes, faults: Faults, origin: str
) -> tuple[Mask | None, str]:
    """Return land by the mask that the user names or gives; add a fault if its meaning is not clear."""
    land = mask if mask.dtype == bool else land_by_flags(mask)
    if land is None and str(mask.name).lower() in _BY_NAME and is_number(mask):
        one_or_zero = bool(in_memory((mask.isnull() | mask.isin([0, 1])).all()))
        land = mask == _BY_NAME[str(mask.name).lower()] if one_or_zero else None
    if land is None:
        unclear = f"a mask of {mask.dtype} without CF flags or a standard name that state its land"
        add(faults, "land-mask-unclear", unclear, mask.name, mask=str(mask.name or "mask"))
        return None, "no land"
    plane = {axes.y, axes.x}
    if plane <= set(land.dims):
        land = land.all([dim for dim in land.dims if dim not in plane])
    found = on_grid(land, array, axes, faults, str(mask.name or "land"))
    values = None if found is None else np.asarray(in_memory(found))
    if values is not None and values.all():
        add(faults, "land-everywhere", f"{origin}: every point is land", mask.name)
        return None, "no land"
    return values, "no land" if values is None else _statement(values, origin)


def _statement(land: Mask, origin: str) -> str:
    return f"{int(np.count_nonzero(land))} of {land.size} points are land: {origin}"
