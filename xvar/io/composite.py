"""Composites of ODIM_H5: images of many radars on a map, as weather services publish them.

xradar reads polar files only; importers elsewhere give neither times nor the difference of nodata and undetect.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.kinds import NOTHING
from xvar.errors import Fault, InputError

#: Objects of ODIM that are an image on a map.
OBJECTS = ("COMP", "IMAGE")
#: Units and standard names of the quantities of ODIM.
QUANTITIES = {
    **dict.fromkeys(("DBZH", "TH", "DBZV", "TV"), ("dBZ", "equivalent_reflectivity_factor")),
    "RATE": ("mm h-1", "rainfall_rate"),
}


def object_of(path: Path) -> str:
    """Return the object of a file of ODIM_H5: PVOL, SCAN, COMP, ...; empty if it states none."""
    import h5py

    try:
        with h5py.File(path) as file:
            return _text(file["what"].attrs["object"])
    except (OSError, RuntimeError, KeyError):
        return ""


def open_composite(path: Path, quantity: str | None) -> xr.Dataset:
    """Open one composite as an image (time, y, x) with its grid mapping, rows from north to south as in the file.

    The first of `QUANTITIES` in the file is the default. Pixels that were not looked at (nodata) are missing;
    undetected ones have the least reflectivity, or no rain. InputError if the file cannot be read, lacks the quantity
    or the place of its pixels.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            return _read(file, path, quantity)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        what = f"no composite that can be read: {type(error).__name__}: {str(error)[:200]}"
        raise refused("unreadable-file", path, what, "a composite of ODIM_H5", "copy or download it again") from error


def refused(code: str, path: Path, found: str, expected: str, fix: str) -> InputError:
    """Return the error of a file."""
    return InputError(Fault(f"{path}: {found}", expected, fix, code=code))


def choose(path: Path, quantity: str | None, names: Iterable[str]) -> str:
    """Return the quantity of a file that is asked for, else the first of `QUANTITIES` among its names."""
    names = list(names)
    known = [name for name in QUANTITIES if name in names]
    name = quantity or next(iter(known), "")
    if name not in known:
        found = f"no {quantity or 'reflectivity or rain'} among {', '.join(names) or 'nothing'}"
        fix = f"quantity={known[0]!r}" if known else "another file"
        raise refused("unknown-quantity", path, found, f"one of {', '.join(QUANTITIES)}", fix)
    return name


def _read(file: Any, path: Path, quantity: str | None) -> xr.Dataset:
    import pyproj

    fields = {str(attrs["quantity"]): (data, attrs) for data, attrs in _fields(file)}
    name = choose(path, quantity, fields)
    data, attrs = fields[name]
    nothing = NOTHING if QUANTITIES[name][0] == "dBZ" else 0.0
    codes = np.asarray(data)
    values = codes * float(attrs.get("gain", 1.0)) + float(attrs.get("offset", 0.0))
    values = np.where(codes == attrs.get("undetect", np.nan), nothing, values)
    values = np.where(codes == attrs.get("nodata", np.nan), np.nan, values)
    where = file["where"].attrs
    crs = pyproj.CRS.from_string(_text(where["projdef"]))
    step_x, step_y = float(where["xscale"]), float(where["yscale"])
    # The corner is that of the lowest pixel, not its middle.
    west, south = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(
        float(where["LL_lon"]), float(where["LL_lat"])
    )
    rows, columns = codes.shape
    moment = "".join(_text(file["what"].attrs[part]) for part in ("date", "time"))
    time = datetime.datetime.strptime(moment, "%Y%m%d%H%M%S")
    y, x = south + step_y * (np.arange(rows)[::-1] + 0.5), west + step_x * (np.arange(columns) + 0.5)
    return image_on_map(name, values, time, (y, x), crs.to_cf(), f"radar composite {path.name}")


def image_on_map(
    name: str,
    values: NDArray[Any],
    time: Any,
    coordinates: tuple[NDArray[Any], NDArray[Any]],
    mapping: Mapping[str, Any],
    source: str,
) -> xr.Dataset:
    """Return one image (time, y, x) of a quantity, with `coordinates` y and x in metres and its grid mapping."""
    units, standard_name = QUANTITIES[name]
    attrs = {"units": units, "standard_name": standard_name, "long_name": name, "grid_mapping": "crs"}
    axes = {
        dim: (dim, metres, {"units": "m", "standard_name": f"projection_{dim}_coordinate"})
        for dim, metres in zip(("y", "x"), coordinates, strict=True)
    }
    return xr.Dataset(
        {name: (("time", "y", "x"), values[None].astype("float32"), attrs), "crs": ((), np.int32(0), mapping)},
        {"time": ("time", np.array([time], dtype="datetime64[ns]"), {"standard_name": "time"}), **axes},
        {"source": source},
    )


def _fields(file: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the images of a file with their attributes, those of the group around included."""
    for dataset in (file[key] for key in sorted(file) if key.startswith("dataset")):
        around = dict(dataset["what"].attrs) if "what" in dataset else {}
        for group in (dataset[key] for key in sorted(dataset) if key.startswith("data")):
            attrs = around | (dict(group["what"].attrs) if "what" in group else {})
            yield group["data"], {**attrs, "quantity": _text(attrs["quantity"])}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
