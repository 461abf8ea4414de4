"""Where the land is: by a mask of the file, by the user's word, or by what is never valid."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.axes import Axes, in_memory, is_lazy, is_number
from xvar.cf.units import kind
from xvar.errors import Faults, nearest

Mask = NDArray[np.bool_]

#: Share of the land of a mask that may have values: a coast is drawn a pixel off now and then.
_COAST = 0.01

_LAND_WORDS = re.compile(r"(^|[^a-z])(land|ground|continent|terrestrial)([^a-z]|$)")
_WATER_WORDS = re.compile(r"(^|[^a-z])(water|sea|ocean|wet|marine)([^a-z]|$)")
_MASK_NAMES = re.compile(
    r"^(mask|mask_rho|mask_t|tmask|lsm|land|land_?mask|land_?sea_?mask|sea_?mask|ocean_?mask|water_?mask|wet|wet_c"
    r"|land_binary_mask|sea_binary_mask|is_?land)$",
    re.IGNORECASE,
)
# What one stands for in a mask without attributes. ROMS, NEMO, MOM and DINEOF write 1 on water.
_LAND_IS_ONE = re.compile(r"^(lsm|land|land_?mask|land_?sea_?mask|land_binary_mask|is_?land)$", re.IGNORECASE)


def find_land(
    dataset: xr.Dataset,
    array: xr.DataArray,
    axes: Axes,
    land: Hashable | xr.DataArray | None,
    faults: Faults,
) -> tuple[Mask | None, str]:
    """Land points of the grid of a variable.

    Parameters
    ----------
    dataset : Dataset
        The input, for its masks.
    array : DataArray
        The variable.
    axes : Axes
        Its dimensions.
    land : str, DataArray or None
        A variable of `dataset`, a mask (boolean, True on land; or with the attributes that say what its values mean),
        ``"never_valid"``, or None: a mask variable of the file, else what is never valid where the data are in
        memory, else none. The motion of radar echoes knows no land unless it is given.
    faults : Faults
        Takes a mask that is not there, of another grid, or of no clear meaning.

    Returns
    -------
    mask : ndarray of bool or None
        (y, x) in the order of the file, True on land; None where there is none.
    statement : str
        Which rule gave it, for the attributes of the output.
    """
    if isinstance(land, xr.DataArray):
        return _given(land, array, axes, faults, "the mask that was given")
    if isinstance(land, str) and land == "never_valid" and land not in dataset.variables:
        return _never_valid(array, axes, faults, asked=True)
    if land is not None:
        if land not in dataset.variables:
            names = ["never_valid", *map(str, dataset.variables)]
            faults.add(
                variable=land,
                found=f"land={str(land)!r}, no variable of the dataset",
                expected='the name of a mask variable, a DataArray, or "never_valid"',
                fix=nearest(land, names, 'land="never_valid"'),
            )
            return None, "no land"
        return _given(dataset[land], array, axes, faults, f"variable {str(land)!r}")
    if kind(array) in ("rain", "reflectivity"):
        return None, "no land: radar echoes move over it"
    refused = ""
    for name in _candidates(dataset, array, axes):
        mask, statement = _of_file(dataset[name], array, axes, name)
        if mask is not None:
            return mask, statement
        refused += f" ({statement})"
    mask, statement = _never_valid(array, axes, faults, asked=False)
    return mask, statement + refused


def _candidates(dataset: xr.Dataset, array: xr.DataArray, axes: Axes) -> list[Hashable]:
    """Mask variables on the grid of the variable, those whose attributes say so first."""
    plane = {axes.y, axes.x}
    stated, named = [], []
    for name, variable in dataset.variables.items():
        extra = [dim for dim in variable.dims if dim not in plane]
        fits = plane <= set(variable.dims) and len(set(variable.dims)) == len(variable.dims)
        if not fits or name == array.name or not (is_number(variable) or variable.dtype == bool):
            continue
        if any(dim != axes.time and variable.sizes[dim] > 1 for dim in extra):
            continue
        if _meaning(variable) is not None:
            stated.append(name)
        elif _MASK_NAMES.match(str(name)):
            named.append(name)
    return stated + named


def _meaning(variable: xr.Variable | xr.DataArray) -> dict[str, Any] | None:
    """What the attributes say: values that are land, values that are water, or bits that are land."""
    attrs = variable.attrs
    standard = str(attrs.get("standard_name"))
    if standard in ("land_binary_mask", "land_area_fraction"):
        return {"above": 0.5, "land": True}
    if standard in ("sea_binary_mask", "sea_area_fraction"):
        return {"above": 0.5, "land": False}
    words = str(attrs.get("flag_meanings", "")).lower().split()
    # Some write them as text, which says nothing that could be relied on.
    flags = (np.atleast_1d(np.asarray(attrs.get(key))) for key in ("flag_masks", "flag_values"))
    masks, values = (numbers if numbers.dtype.kind in "iuf" else None for numbers in flags)
    if words and masks is not None and len(masks) == len(words) and values is None:
        bits = [int(bit) for bit, word in zip(masks, words, strict=True) if _LAND_WORDS.search(word)]
        return {"bits": sum(bits)} if bits else None
    pairs: list[tuple[float, str]] = []
    if words and values is not None and len(values) == len(words):
        pairs = [(float(value), word) for value, word in zip(values, words, strict=True)]
    else:
        pairs += [
            (float(match[1]), str(text).lower())
            for key, text in attrs.items()
            if (match := re.fullmatch(r"option_(\d+)", str(key)))
        ]
        text = " ".join(str(attrs.get(key, "")) for key in ("long_name", "description", "comment", "units")).lower()
        pairs += [(float(value), word) for value, word in re.findall(r"\b(\d)\s*(?:=|:|for|is)\s*([a-z]+)", text)]
        pairs += [(float(value), word) for word, value in re.findall(r"\b([a-z]+)\s*(?:=|:)\s*(\d)\b", text)]
    land = {value for value, word in pairs if _LAND_WORDS.search(word)}
    water = {value for value, word in pairs if _WATER_WORDS.search(word)}
    if land:
        return {"values": sorted(land), "land": True}
    return {"values": sorted(water), "land": False} if water else None


def _apply(meaning: dict[str, Any], values: NDArray[Any]) -> Mask:
    if "bits" in meaning:
        whole = np.where(np.isfinite(values), values, 0).astype(np.int64)
        return np.asarray((whole & meaning["bits"]) != 0)
    if "above" in meaning:
        above = values > meaning["above"]
        return np.asarray(above if meaning["land"] else ~above)
    listed = np.isin(values, meaning["values"])
    return np.asarray(listed if meaning["land"] else ~listed)


def _every_frame(meaning: dict[str, Any], values: NDArray[Any]) -> Mask:
    """(y, x) land in every frame of a (frame, y, x) mask."""
    return np.asarray(_apply(meaning, values).all(axis=0))


def _says(meaning: dict[str, Any]) -> str:
    if "bits" in meaning:
        return f"land where bit {meaning['bits']} is set"
    if "above" in meaning:
        return "land where above 0.5" if meaning["land"] else "land where not above 0.5"
    values = ", ".join(f"{value:g}" for value in meaning["values"])
    return f"{values} = land" if meaning["land"] else f"{values} = water"


def _plane_values(mask: xr.DataArray, axes: Axes) -> NDArray[Any] | None:
    """(frames or 1, y, x) values of a mask; None where reading them means reading a lazy record."""
    if axes.time in mask.dims and mask.sizes[axes.time] > 1 and is_lazy(mask):
        return None
    extra = [dim for dim in mask.dims if dim not in (axes.time, axes.y, axes.x)]
    plane = mask.isel(dict.fromkeys(extra, 0))
    if axes.time not in plane.dims:
        plane = plane.expand_dims({axes.time: 1})
    return np.asarray(in_memory(plane.transpose(axes.time, axes.y, axes.x)))


def _ever_valid(array: xr.DataArray, axes: Axes) -> Mask | None:
    """(y, x) where any frame has a finite value; None for lazy data."""
    if is_lazy(array) or not is_number(array):
        return None
    others = [dim for dim in array.dims if dim not in (axes.y, axes.x)]
    values = np.asarray(array.transpose(*others, axes.y, axes.x).values)
    return np.asarray(np.isfinite(values).any(axis=tuple(range(len(others)))))


def _of_file(mask: xr.DataArray, array: xr.DataArray, axes: Axes, name: Hashable) -> tuple[Mask | None, str]:
    """A mask of the file that nobody asked for: used where it is clear and the data do not contradict it."""
    values = _plane_values(mask, axes)
    if values is None:
        return None, f"mask {str(name)!r} changes in time and is lazy: not used"
    ever = _ever_valid(array, axes)
    meaning = _meaning(mask)
    readings = [meaning] if meaning is not None else _customary(name, values)
    for reading in readings:
        land = _every_frame(reading, values)
        if not land.any() or land.all():
            continue
        check = _check(land, ever)
        if check is not None:
            return land, _statement(land, f"variable {str(name)!r} ({_says(reading)}{check})")
    return None, f"mask {str(name)!r} not used: the variable has values on its land, or it has none"


def _customary(name: Hashable, values: NDArray[Any]) -> list[dict[str, Any]]:
    """Both readings of a mask of zeros and ones without attributes, the customary one of its name first."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    one_is_land = bool(_LAND_IS_ONE.match(str(name)))
    if not np.isin(finite, (0, 1)).all():
        return [{"above": 0.5, "land": True}] if one_is_land else []
    return [{"values": [1.0], "land": one_is_land}, {"values": [1.0], "land": not one_is_land}]


def _check(land: Mask, ever: Mask | None) -> str | None:
    """None where the data contradict the mask; else what the check found, in words."""
    if ever is None:
        return ", not checked against lazy data"
    wrong = int(np.count_nonzero(land & ever))
    if wrong > _COAST * np.count_nonzero(land):
        return None
    return f", {wrong} of them with values that are left out" if wrong else ""


def _statement(land: Mask, origin: str) -> str:
    return f"{int(np.count_nonzero(land))} of {land.size} points are land: {origin}"


def _given(mask: xr.DataArray, array: xr.DataArray, axes: Axes, faults: Faults, origin: str) -> tuple[Mask | None, str]:
    """The mask that the user names: taken at its word, refused where its meaning is not clear."""
    aligned = _aligned(mask, array, axes, faults)
    if aligned is None:
        return None, "no land"
    # Named in a call, a lazy record of masks is read: that is what was asked for.
    extra = [dim for dim in aligned.dims if dim not in (axes.y, axes.x)]
    values = np.asarray(in_memory(aligned.transpose(*extra, axes.y, axes.x)))
    values = values.reshape(-1, *values.shape[-2:])
    meaning = _meaning(mask)
    if meaning is None and values.dtype.kind == "b":
        meaning = {"values": [1.0], "land": True}
    reading = meaning
    if reading is None:
        ever = _ever_valid(array, axes)
        for candidate in _customary(mask.name or "", values):
            if ever is not None and _check(_every_frame(candidate, values), ever) is not None:
                reading = candidate
                break
        if reading is None and ever is None and mask.name is not None and _MASK_NAMES.match(str(mask.name)):
            reading = next(iter(_customary(mask.name, values)), None)
    if reading is None:
        found = np.unique(values[np.isfinite(values)])[:5] if values.dtype.kind in "iufc" else np.array([])
        faults.add(
            variable=mask.name,
            found=f"a mask of {values.dtype}"
            + (f" with values {', '.join(f'{value:g}' for value in found)}" if found.size else "")
            + ", and nothing that says which are land",
            expected="booleans, True on land, or flag_values and flag_meanings",
            fix="land=ds[name] == 0 (or whatever value is land)",
        )
        return None, "no land"
    land = _every_frame(reading, values)
    if land.all():
        faults.add(
            variable=mask.name,
            found=f"{origin}: every point is land ({_says(reading)})",
            expected="some water",
            fix="check what the values mean: land=~mask",
        )
        return None, "no land"
    return land, _statement(land, f"{origin} ({_says(reading)})")


def _aligned(mask: xr.DataArray, array: xr.DataArray, axes: Axes, faults: Faults) -> xr.DataArray | None:
    """A mask on the points of the array: the same grid, in whatever order."""
    for dim in (axes.y, axes.x):
        if dim not in mask.dims:
            faults.add(
                variable=mask.name,
                dimension=dim,
                found=f"a mask with dimensions {tuple(str(d) for d in mask.dims)}",
                expected=f"dimensions {str(axes.y)!r} and {str(axes.x)!r}",
                fix="rename the dimensions of the mask",
            )
            return None
        if mask.sizes[dim] != array.sizes[dim]:
            faults.add(
                variable=mask.name,
                dimension=dim,
                found=f"size {mask.sizes[dim]} of the mask",
                expected=f"size {array.sizes[dim]} of {str(array.name)!r}",
                fix="give the mask on the grid of the variable",
            )
            return None
        if all(dim in part.coords and is_number(part.coords[dim]) for part in (mask, array)):
            theirs, ours = (np.asarray(a.coords[dim].values, dtype=np.float64) for a in (mask, array))
            tolerance = 1e-3 * float(np.abs(np.diff(ours)).min())
            order = np.argsort(theirs)[np.argsort(np.argsort(ours))]
            if not np.abs(theirs[order] - ours).max() <= tolerance:
                faults.add(
                    variable=mask.name,
                    dimension=dim,
                    found=f"coordinates {theirs.min():g} to {theirs.max():g} of the mask",
                    expected=f"those of {str(array.name)!r}, {ours.min():g} to {ours.max():g}, to 1e-3 of a step",
                    fix="give the mask on the grid of the variable (mask.interp_like)",
                )
                return None
            mask = mask.isel({dim: order})
    return mask


def _never_valid(array: xr.DataArray, axes: Axes, faults: Faults, *, asked: bool) -> tuple[Mask | None, str]:
    ever = _ever_valid(array, axes)
    if ever is None:
        if asked:
            faults.add(
                variable=array.name,
                found='land="never_valid" with lazy data: what is never valid is known only once all are read',
                expected="data in memory, or a mask",
                fix="ds.load(), or land=<mask variable or DataArray>",
            )
        return None, "no land: no mask in the file, and the data are lazy"
    land = ~ever
    if not land.any():
        return None, "no land: every point has a value in some frame"
    if land.all():
        # A record without a value is a fault of its own, told elsewhere.
        return None, "no land: no point has a value"
    return land, _statement(land, "never valid over the frames of the call")
