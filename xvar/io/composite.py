"""Composites of ODIM_H5, images of many radars on a map: what weather services hand out."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.detection import NOTHING
from xvar.errors import Fault, InputError

#: What ODIM calls the files that hold an image on a map.
OBJECTS = ("COMP", "IMAGE")


def object_of(path: Path) -> str:
    """What a file of ODIM_H5 says that it holds: PVOL, SCAN, COMP, ...; empty where it does not."""
    import h5py

    try:
        with h5py.File(path) as file:
            return _text(file["what"].attrs["object"])
    except (OSError, RuntimeError, KeyError):
        return ""


def open_composite(path: Path, quantity: str | None, quantities: Mapping[str, tuple[str, str]]) -> xr.Dataset:
    """One composite as an image.

    Parameters
    ----------
    path : Path
        The file.
    quantity : str or None
        As ODIM names it; by default the first of `quantities` that there is.
    quantities : mapping of str to tuple of str
        Units and standard name of each that is understood.

    Returns
    -------
    Dataset
        The quantity (time, y, x) at the middle of the pixels, rows from north to south as in the file, with its grid
        mapping. What was not looked at (nodata) is missing; where nothing was seen (undetect) there is the least
        reflectivity, or no rain.

    Raises
    ------
    InputError
        Where the file cannot be read, has no such quantity, or does not say where its pixels lie.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            return _read(file, path, quantity, quantities)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        what = f"{path}: no composite that can be read: {type(error).__name__}: {str(error)[:200]}"
        raise InputError(Fault(what, "a composite of ODIM_H5", "copy or download it again")) from error


def _read(file: Any, path: Path, quantity: str | None, quantities: Mapping[str, tuple[str, str]]) -> xr.Dataset:
    import pyproj

    fields = {str(attrs["quantity"]): (data, attrs) for data, attrs in _fields(file)}
    known = [name for name in quantities if name in fields]
    name = quantity or next(iter(known), "")
    if name not in known:
        found = f"{path}: no {quantity or 'reflectivity or rain'} among {', '.join(fields) or 'nothing'}"
        fix = f"quantity={known[0]!r}" if known else "another file"
        raise InputError(Fault(found, f"one of {', '.join(quantities)}", fix))
    data, attrs = fields[name]
    units, standard_name = quantities[name]
    codes = np.asarray(data)
    values = codes * float(attrs.get("gain", 1.0)) + float(attrs.get("offset", 0.0))
    values = np.where(codes == attrs.get("undetect", np.nan), NOTHING if units == "dBZ" else 0.0, values)
    values = np.where(codes == attrs.get("nodata", np.nan), np.nan, values)
    where = file["where"].attrs
    crs = pyproj.CRS.from_string(_text(where["projdef"]))
    step_x, step_y = float(where["xscale"]), float(where["yscale"])
    # The corner is that of the lowest pixel, not its middle.
    west, south = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(
        float(where["LL_lon"]), float(where["LL_lat"])
    )
    rows, columns = codes.shape
    moment = datetime.datetime.strptime(
        _text(file["what"].attrs["date"]) + _text(file["what"].attrs["time"]), "%Y%m%d%H%M%S"
    )
    coordinates = {
        "y": south + step_y * (np.arange(rows)[::-1] + 0.5),
        "x": west + step_x * (np.arange(columns) + 0.5),
    }
    described = {"units": units, "standard_name": standard_name, "long_name": name, "grid_mapping": "crs"}
    return xr.Dataset(
        {
            name: (("time", "y", "x"), values[None].astype("float32"), described),
            "crs": ((), np.int32(0), crs.to_cf()),
        },
        {
            "time": ("time", np.array([moment], dtype="datetime64[ns]"), {"standard_name": "time"}),
            **{
                dim: (dim, metres, {"units": "m", "standard_name": f"projection_{dim}_coordinate"})
                for dim, metres in coordinates.items()
            },
        },
        {"source": f"radar composite {path.name}"},
    )


def _fields(file: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The images of a file with what is said of each: what a group does not say, the one around it does."""
    for dataset in (file[key] for key in sorted(file) if key.startswith("dataset")):
        around = dict(dataset["what"].attrs) if "what" in dataset else {}
        for group in (dataset[key] for key in sorted(dataset) if key.startswith("data")):
            attrs = around | (dict(group["what"].attrs) if "what" in group else {})
            yield group["data"], {**attrs, "quantity": _text(attrs["quantity"])}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
