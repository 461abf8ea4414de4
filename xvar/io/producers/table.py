"""All producers whose files need more than an engine of xarray: a row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from xvar.io import odim
from xvar.io.producers import fmi, grids, knmi, meteonet, meteoswiss


@dataclass(frozen=True)
class Producer:
    """Recognition and reading of the files of a producer.

    Attributes
    ----------
    name : str
        Producer and format, for messages.
    format : str
        Key of `xvar.io.formats.NAMES`.
    owns : callable
        True for its files: of a path, or if `decoded` of the Dataset of xarray's engine.
    read : callable
        The lazy Dataset of a file: of (path, quantity), or if `decoded` of (Dataset, path).
    decoded : bool
        The file is decoded by an engine of xarray.
    """

    name: str
    format: str
    owns: Callable[[Any], bool]
    read: Callable[..., xr.Dataset]
    decoded: bool = False


PRODUCERS = (
    Producer("ODIM_H5", "hdf5", odim.is_odim, odim.read_image),
    Producer("KNMI", "hdf5", knmi.owns, knmi.read),
    Producer("FMI, PGM", "pgm", fmi.owns_pgm, fmi.read_pgm),
    Producer("MeteoSwiss, GIF", "gif", meteoswiss.owns, meteoswiss.read),
    Producer("MeteoNet", "npz", meteonet.owns, meteonet.read),
    Producer("FMI, GeoTIFF", "geotiff", fmi.owns_geotiff, fmi.read_geotiff, decoded=True),
    Producer("BoM Rainfields", "hdf5", grids.owns_rainfields, grids.read_rainfields, decoded=True),
    Producer("NWC SAF", "hdf5", grids.owns_nwcsaf, grids.read_nwcsaf, decoded=True),
    Producer("GOES", "hdf5", grids.owns_goes, grids.read_goes, decoded=True),
    Producer("MRMS", "grib", grids.owns_mrms, grids.read_mrms, decoded=True),
    Producer("RADOLAN", "radolan", grids.owns_radolan, grids.read_radolan, decoded=True),
    Producer("GHRSST", "hdf5", grids.owns_ghrsst, grids.read_ghrsst, decoded=True),
    Producer("levels of a sea", "hdf5", grids.owns_levels, grids.read_levels, decoded=True),
    Producer("levels of a sea", "classic", grids.owns_levels, grids.read_levels, decoded=True),
)


def of_bytes(path: Path, found: str) -> Producer | None:
    """Return the producer of a file of one format that no engine of xarray decodes, None if there is none."""
    return next((one for one in PRODUCERS if one.format == found and not one.decoded and one.owns(path)), None)


def of_dataset(dataset: xr.Dataset, found: str) -> Producer | None:
    """Return the producer of a decoded file, None if there is none."""
    return next((one for one in PRODUCERS if one.format == found and one.decoded and one.owns(dataset)), None)
