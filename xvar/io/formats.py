"""Format of a file, from its signature; the engine of xarray that reads it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import xarray as xr

from xvar.errors import InputError, require

HDF5 = b"\x89HDF\r\n\x1a\n"
#: Signatures at the first byte. An HDF5 file may begin with a block of the user's, so that its signature comes later.
_FIRST = {
    **dict.fromkeys((b"CDF\x01", b"CDF\x02", b"CDF\x05"), "classic"),
    **dict.fromkeys((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), "geotiff"),
    b"GRIB": "grib",
    b"GIF8": "gif",
    b"PK\x03\x04": "npz",
    b"P5\n#": "pgm",
}
#: The header of RADOLAN is text: product, day and time, number, month and year, length.
_RADOLAN = re.compile(rb"[A-Z%][A-Z0-9]\d{6}\d{5}\d{4}BY")
NAMES = {
    "hdf5": "NetCDF-4",
    "classic": "NetCDF-3",
    "zarr": "Zarr",
    "grib": "GRIB",
    "geotiff": "GeoTIFF",
    "radolan": "RADOLAN",
    "gif": "GIF",
    "pgm": "PGM",
    "npz": "npz",
}
#: Formats that no engine of xarray reads: `xvar.io.producers` does.
BYTES_ONLY = frozenset({"gif", "pgm", "npz"})
#: Engines of formats: package, extra of xvar, module and class, options. An index file of GRIB would be unpickled.
_READERS: dict[str, tuple[str, str, str, str, dict[str, Any]]] = {
    "grib": ("cfgrib", "grib", "cfgrib.xarray_plugin", "CfGribBackend", {"indexpath": ""}),
    "geotiff": (
        "rioxarray",
        "geotiff",
        "rioxarray.xarray_plugin",
        "RasterioBackend",
        {"open_kwargs": {"driver": "GTiff"}},
    ),
    "radolan": ("wradlib", "radolan", "wradlib.io.backends", "RadolanBackendEntrypoint", {}),
}


def formats(path: Path) -> set[str]:
    """Return all formats that a path may be read as: keys of `NAMES`; a folder is a Zarr store.

    Libraries look for the signature of HDF5 at the bytes 0, 512, 1024, 2048, ... to the end of the file: a file may
    begin as NetCDF-3 and be read as HDF5.
    """
    if path.is_dir():
        return {"zarr"}
    found = set()
    with path.open("rb") as file:
        head = file.read(32)
        first = _FIRST.get(head[:4], "radolan" if _RADOLAN.match(head) else None)
        if first is not None:
            found.add(first)
        size, offset = path.stat().st_size, 0
        while offset < size:
            file.seek(offset)
            if file.read(len(HDF5)) == HDF5:
                found.add("hdf5")
                break
            offset = max(512, 2 * offset)
    return found


def engine(path: Path, found: str) -> dict[str, Any]:
    """Return the options with which `xarray.open_dataset` reads a format, and no other.

    The engine is a class, not a name: to find a name xarray imports the engines of all packages that are installed.
    """
    if found in BYTES_ONLY:
        raise InputError(
            code="unknown-format",
            found=f"{path}: {NAMES[found]}, which no engine of xarray reads",
            expected="NetCDF, Zarr, GRIB or GeoTIFF",
            fix=f"xvar.open({path.name!r}), if its producer is known",
        )
    if found in ("hdf5", "classic"):
        return {"engine": xr.backends.NetCDF4BackendEntrypoint}
    if found == "zarr":
        return {"engine": xr.backends.ZarrBackendEntrypoint, "consolidated": _is_consolidated(path)}
    package, extra, module, name, options = _READERS[found]
    require(package, extra, f"{path}, {NAMES[found]},")
    return {"engine": getattr(importlib.import_module(module), name), **options}


def is_store(path: Path) -> bool:
    """Return True if a path is a Zarr store."""
    names = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
    return path.is_dir() and (path.suffix == ".zarr" or any((path / name).exists() for name in names))


def _is_consolidated(store: Path) -> bool:
    """Return True if a store has consolidated metadata: xarray warns if it looks for them in vain."""
    described = store / "zarr.json"
    text = described.read_text(encoding="utf-8", errors="replace") if described.is_file() else ""
    return (store / ".zmetadata").exists() or '"consolidated_metadata"' in text


def first_line(error: BaseException) -> str:
    """Return the beginning of what a library says of a file that it cannot read."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def way_out(error: BaseException) -> str:
    """Return the fix of a file that a reader fails at: another copy only if the bytes are damaged."""
    if isinstance(error, (OSError, EOFError, RuntimeError)):
        return "copy or download it again"
    return "its own reader, if this is how its producer writes it now, and a Dataset (time, y, x) of what that returns"
