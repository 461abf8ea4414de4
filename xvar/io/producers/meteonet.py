"""MeteoNet of Meteo-France, npz: rain of 5 minutes on latitude and longitude, many frames a file."""

from __future__ import annotations

import pickletools
import zipfile
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import InputError
from xvar.io.images import image_on_map, rain_amount

#: First latitude and longitude of the middles of the pixels of both areas, from the north and the west; steps of 0.01.
_AREAS = {"NW": (51.895, -5.842), "SE": (46.245, 2.0)}
_STEP = 0.01


def owns(path: Path) -> bool:
    """Return True if a zip file has the arrays of MeteoNet."""
    with zipfile.ZipFile(path) as file:
        return {"data.npy", "dates.npy"} <= set(file.namelist())


def read(path: Path, quantity: str | None) -> xr.Dataset:
    """Return the images of a file, at the ends of their 5 minutes.

    The arrays `lats` and `lons` come from ``radar_coords_AREA.npz`` beside the file if it is there, else from the area
    in the name.
    """
    with zipfile.ZipFile(path) as file:
        with file.open("data.npy") as member:
            shape, dtype = _header(member)
        with file.open("dates.npy") as member:
            times = _dates(member)
    if len(shape) != 3 or len(times) != shape[0] or dtype.kind not in "iuf":
        raise ValueError(f"data of shape {shape} and {len(times)} dates")

    def values() -> NDArray[Any]:
        with np.load(path, allow_pickle=False) as file:
            stored = file["data"]
        return np.where(stored < 0, np.nan, stored * np.float32(0.01))

    y, x = _coordinates(path, shape[1], shape[2])
    mapping = {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6378137.0, "inverse_flattening": 298.257}
    attrs = rain_amount(5)
    return image_on_map("rain", values, attrs, times=times, y=y, x=x, mapping=mapping, source=f"MeteoNet {path.name}")


def _coordinates(path: Path, rows: int, columns: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return latitudes from north to south and longitudes."""
    area = next((name for name in _AREAS if name in path.stem.split("_")), None)
    beside = path.with_name(f"radar_coords_{area}.npz")
    if area is not None and beside.is_file():
        with np.load(beside, allow_pickle=False) as places:
            lats, lons = np.asarray(places["lats"], "float64"), np.asarray(places["lons"], "float64")
        return (lats if lats.ndim == 1 else lats[:, 0]), (lons if lons.ndim == 1 else lons[0])
    if area is None:
        raise InputError(
            code="unknown-area",
            found=f"{path.name}, without the area in its name",
            expected=f"one of {', '.join(_AREAS)} between underscores, as in rainfall_NW_2016_01.1.npz",
            fix="the name that the file had",
        )
    north, west = _AREAS[area]
    return north - _STEP * np.arange(rows), west + _STEP * np.arange(columns)


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(member)
    return shape, dtype


def _dates(member: IO[bytes]) -> list[datetime]:
    """Return the datetimes of a pickled array without unpickling it: the arguments of 10 bytes in its opcodes."""
    _header(member)
    found = []
    for opcode, argument, _ in pickletools.genops(member):
        if "BYTES" in opcode.name and isinstance(argument, bytes) and len(argument) == 10:
            year, rest = int.from_bytes(argument[:2], "big"), argument[2:]
            found.append(datetime(year, *rest[:5]))
    return found
