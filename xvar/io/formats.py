"""Format of a file, from its signature; the engine of xarray that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HDF5 = b"\x89HDF\r\n\x1a\n"
#: Signatures at the first byte. An HDF5 file may begin with a block of the user's, so that its signature comes later.
_FIRST = {
    **dict.fromkeys((b"CDF\x01", b"CDF\x02", b"CDF\x05"), "classic"),
    **dict.fromkeys((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), "geotiff"),
    b"GRIB": "grib",
}
NAMES = {"hdf5": "NetCDF-4", "classic": "NetCDF-3", "zarr": "Zarr", "grib": "GRIB", "geotiff": "GeoTIFF"}


def formats(path: Path) -> set[str]:
    """Return all formats that a path may be read as: keys of `NAMES`; a folder is a Zarr store.

    Libraries look for the signature of HDF5 at the bytes 0, 512, 1024, 2048, ... to the end of the file: a file may
    begin as NetCDF-3 and be read as HDF5.
    """
    if path.is_dir():
        return {"zarr"}
    found = set()
    with path.open("rb") as file:
        first = _FIRST.get(file.read(4))
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
    """Return the options with which `xarray.open_dataset` reads a format, and no other."""
    if found in ("hdf5", "classic"):
        return {"engine": "netcdf4"}
    if found == "zarr":
        return {"engine": "zarr", "consolidated": _is_consolidated(path)}
    if found == "grib":  # an index file beside it would be unpickled
        return {"engine": "cfgrib", "indexpath": ""}
    return {"engine": "rasterio", "open_kwargs": {"driver": "GTiff"}}


def _is_consolidated(store: Path) -> bool:
    """Return True if a store has consolidated metadata: xarray warns if it looks for them in vain."""
    described = store / "zarr.json"
    text = described.read_text(encoding="utf-8", errors="replace") if described.is_file() else ""
    return (store / ".zmetadata").exists() or '"consolidated_metadata"' in text


def first_line(error: BaseException) -> str:
    """Return the beginning of what a library says of a file that it cannot read."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
