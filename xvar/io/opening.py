"""`xvar.open`: the files of any producer as one record (time, y, x) with CF metadata."""

from __future__ import annotations

import glob
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xvar.cf.axes import is_date
from xvar.cf.kinds import kind
from xvar.errors import Fault, InputError, InputWarning, nearest, warn
from xvar.io.compressed import unpacked
from xvar.io.filenames import time_from_name
from xvar.io.formats import BYTES_ONLY, NAMES, engine, first_line, formats, is_store, way_out
from xvar.io.joining import Image, join, most_frequent, time_dimension
from xvar.io.odim import site_of
from xvar.io.producers.table import of_bytes, of_dataset
from xvar.io.reading import matching, open_files, refuse_empty
from xvar.io.remote import fetch, is_url
from xvar.io.untrusted import checked_format
from xvar.io.writing import ZARR

#: Names of scalar times in files of one image each, and global attributes that state one.
_TIMES = ("valid_time", "time", "t")
_TIME_ATTRIBUTES = ("nominal_product_time", "time_coverage_start")
#: Faults of files that are of another kind, not broken.
_NO_IMAGE = frozenset({"unknown-format", "unknown-producer", "unknown-quantity", "no-time"})


def open(  # noqa: A001  (xvar.open, as in xarray)
    files: str | Path | Sequence[str | Path],
    quantity: str | None = None,
    *,
    site: str | None = None,
    group: str | None = None,
    time_from_name: str | None = None,
    clip_negative: bool = False,
    trusted: bool = False,
) -> xr.Dataset:
    """Open files of any producer as one record.

    Each file is recognised by its content: ODIM_H5 composites and volumes, HDF5 of KNMI, PGM and GeoTIFF of FMI, GIF of
    MeteoSwiss, Rainfields, MRMS, MeteoNet, RADOLAN, NWC SAF, GOES, GHRSST, levels of CMEMS and ROMS, and whatever else
    xarray reads with a time in it. :doc:`howto/producers` has a line for each.

    Parameters
    ----------
    files : str, Path or sequence of these
        Files, folders, patterns such as ``radar/*.h5``, URLs of fsspec; compressed by gzip or bzip2 or not.
    quantity : str, optional
        Name of the variable, or ODIM's of the quantity, such as ``RATE``; default: the one that most files have.
    site : str, optional
        Of volumes of several radars, the one that is read, by the name of its node in ODIM, such as ``deboo``.
    group : str, optional
        Group of NetCDF files that holds the record.
    time_from_name : str, optional
        Format of the time in the names of the files, such as ``%Y%m%d%H%M``, to be used instead of what the files
        state. Without it names are used if files state no time.
    clip_negative : bool
        Set negative rain to zero, beyond the error of packing, too.
    trusted : bool
        Open files without the checks for files from unknown sources, and with any engine of xarray.

    Returns
    -------
    Dataset
        Variables (time, y, x) with units, coordinates and grid mapping of CF; missing values are NaN, nothing detected
        is no rain or the least reflectivity. Lazy: values are read when they are needed, a chunk a file.

    Raises
    ------
    InputError
        If a file cannot be read, with the reader that it needs; if no time is stated; if products are mixed and
        none is in most files; if volumes are of several radars; if two files have other values at the same time.

    Examples
    --------
    >>> import xvar
    >>> path = xvar.datasets.sample().to_netcdf("/tmp/brest.nc")
    >>> xvar.open("/tmp/brest.nc").sizes["time"]
    7
    """
    names = [files] if isinstance(files, (str, Path)) else list(files)
    if group is not None or (len(names) == 1 and is_url(str(names[0])) and str(names[0]).rstrip("/").endswith(ZARR)):
        record = open_files(names, group, trusted=trusted)
    else:
        paths, several = _paths(names)
        paths = [unpacked(path) for path in paths]
        if site is not None:
            paths = _of_site(paths, site)
        record = _record(paths, quantity, time_from_name, trusted=trusted, several=several)
    return _without_negative(record) if clip_negative else record


def _paths(names: Sequence[str | Path]) -> tuple[list[Path], bool]:
    """Return the files of names, patterns, folders and URLs; True if a pattern or folder may have others among them."""
    paths: list[Path] = []
    several = False
    for name in map(str, names):
        found = fetch(name) if is_url(name) else matching(name)
        if len(found) == 1 and found[0].is_dir() and not is_store(found[0]):
            found = sorted(path for path in found[0].iterdir() if path.is_file() and not path.name.startswith("."))
            several = True
        several = several or glob.has_magic(name)
        paths += found
    if not paths:
        what = f"no file in {', '.join(map(str, names))}"
        raise InputError(Fault(what, "files of images", "another folder", code="file-not-found"))
    return paths, several


def _record(
    paths: Sequence[Path], quantity: str | None, name_format: str | None, *, trusted: bool, several: bool
) -> xr.Dataset:
    """Return the record of files; those that are no images are left out if there are `several`."""
    images: list[Image] = []
    others: list[Path] = []
    reasons: list[InputError] = []
    for path in paths:
        try:
            image = _image(path, quantity, name_format, trusted=trusted)
        except InputError as error:
            if not several or error.faults[0].code not in _NO_IMAGE:
                raise
            reasons.append(error)
            others.append(path)
            continue
        if image is None and not images:  # files of xarray's engines, joined as these are
            return open_files(paths, trusted=trusted)
        if image is None:
            others.append(path)
        else:
            images.append((path, image))
    if not images:  # the reason why a file is none says more than that another is of no known format
        raise max(reasons, key=lambda error: error.faults[0].code != "unknown-format")
    _refuse_sites([path for path, _ in images])
    if others:
        warn(f"{len(others)} files are no such images and left out, such as {others[0].name}", InputWarning)
    return join(most_frequent(images, quantity))


def _of_site(paths: Sequence[Path], site: str) -> list[Path]:
    """Return the volumes of a radar; InputError if there is none."""
    sites = [site_of(path) for path in paths]
    kept = [path for path, own in zip(paths, sites, strict=True) if own == site]
    if not kept:
        known = sorted({own for own in sites if own is not None})
        fix = (
            nearest(site, known, f"site={known[0]!r}") if known else "leave site= out: these are no volumes of ODIM_H5"
        )
        found = f"site={site!r}; the files are of {', '.join(known) or 'no site'}"
        raise InputError(Fault(found, "a site of the files", fix, code="unknown-site"))
    return kept


def _refuse_sites(paths: Sequence[Path]) -> None:
    """Raise InputError if volumes are of several radars: each has a plane of its own."""
    counts = Counter(own for own in map(site_of, paths) if own is not None)
    if len(counts) > 1:
        words = ", ".join(f"{own} ({count} files)" for own, count in counts.most_common())
        fix = f"site={counts.most_common(1)[0][0]!r}"
        raise InputError(Fault(f"volumes of several sites: {words}", "volumes of one site", fix, code="several-sites"))


def _image(path: Path, quantity: str | None, name_format: str | None, *, trusted: bool) -> xr.Dataset | None:
    """Return the images of a file with their time; None if xarray opens it with its time."""
    refuse_empty(path)
    found = next(iter(formats(path)), None) if trusted else checked_format(path)
    if found is None or is_store(path):
        return None
    try:
        producer = of_bytes(path, found)
        if producer is not None:
            return _with_time(producer.read(path, quantity), path, name_format)
        if found in BYTES_ONLY:
            what = f"{path}: a {NAMES[found]} file of no producer that is known"
            fix = "open it by its own reader, and make a Dataset (time, y, x)"
            raise InputError(Fault(what, "one of those of xvar.open", fix, code="unknown-producer"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xr.SerializationWarning)  # RADOLAN has three codes for missing
            dataset = xr.open_dataset(path, chunks={}, **engine(path, found))
    except InputError:
        raise
    except Exception as error:  # readers of broken files raise whatever they stumble over
        what = f"{path}: broken, or not as its producer writes it: {type(error).__name__}: {first_line(error)}"
        raise InputError(Fault(what, f"a {NAMES[found]} file", way_out(error), code="unreadable-file")) from error
    is_analysis = "window" in dataset.dims
    producer = None if is_analysis else of_dataset(dataset, found)
    if producer is not None:
        return _with_time(producer.read(dataset, path), path, name_format)
    if is_analysis or not dataset.data_vars or (name_format is None and _has_time(dataset)):
        dataset.close()
        return None
    return _images_alone(_with_time(dataset, path, name_format), quantity)


def _has_time(dataset: xr.Dataset) -> bool:
    """Return True if a Dataset has times along a dimension."""
    return any(part.ndim and is_date(dataset[name]) for name, part in dataset.variables.items())


def _with_time(dataset: xr.Dataset, path: Path, name_format: str | None) -> xr.Dataset:
    """Return images with a dimension of time: that of the file, else of its name; by a format of names, if given.

    InputError if neither states one, or a file of several times is to have that of its name.
    """
    dim = time_dimension(dataset)
    if dim is not None and dataset.sizes[dim] == 1 and not any(dim in part.dims for part in dataset.data_vars.values()):
        dataset, dim = dataset.isel({dim: 0}), None
    if name_format is not None:
        if dim is not None and dataset.sizes[dim] > 1:
            found = f"{path}: {dataset.sizes[dim]} times in one file, for which its name states one"
            raise InputError(Fault(found, "files of one time", "leave time_from_name out", code="several-times"))
        named = time_from_name(path, name_format)
        return _at(dataset if dim is None else dataset.isel({dim: 0}, drop=True), named)
    if dim is not None:
        return dataset
    scalars = {str(name): part for name, part in dataset.variables.items() if not part.ndim and is_date(dataset[name])}
    name = next((name for name in _TIMES if name in scalars), None)
    if name is not None:
        return _at(dataset, scalars[name].values)
    stated = next((str(dataset.attrs[key]) for key in _TIME_ATTRIBUTES if key in dataset.attrs), None)
    try:
        moment: Any = None if stated is None else np.datetime64(stated.rstrip("Z"), "ns")
    except ValueError:
        moment = None
    moment = time_from_name(path) if moment is None else moment
    if moment is None:
        fix = "time_from_name='%Y%m%d%H%M', the form of the time in its name"
        found = f"{path}: no time in the file or its name"
        raise InputError(Fault(found, "the time of the image", fix, dimension="time", code="no-time"))
    return _at(dataset, moment)


def _at(dataset: xr.Dataset, moment: Any) -> xr.Dataset:
    """Return a Dataset of one time, with it as the first dimension of each image."""
    dates = [name for name, part in dataset.variables.items() if not part.ndim and part.dtype.kind in "Mm"]
    still = dataset.drop_vars(dates)
    images = [name for name, part in still.data_vars.items() if part.ndim >= 2]
    time = xr.DataArray([np.datetime64(moment, "ns")], dims="time", attrs={"standard_name": "time"})
    return still.assign({name: still[name].expand_dims(time=time) for name in images}).assign_coords(time=time)


def _images_alone(dataset: xr.Dataset, quantity: str | None) -> xr.Dataset:
    """Return the images (time, y, x) of a file, or the one that is asked for, and their grid mappings."""
    images = [str(name) for name, part in dataset.data_vars.items() if "time" in part.dims and part.ndim >= 3]
    chosen = [quantity] if quantity in images else images
    maps = [name for name, part in dataset.data_vars.items() if not part.ndim and "grid_mapping_name" in part.attrs]
    return dataset[[*chosen, *maps]]


def _without_negative(record: xr.Dataset) -> xr.Dataset:
    """Return a record with zero for negative values of rain, which stay lazy."""
    result = record
    for name, part in record.data_vars.items():
        if kind(part, record) == "rain" and part.ndim >= 3:
            positive = part.chunk().clip(min=0.0, keep_attrs=True)
            positive.encoding = part.encoding
            result = result.assign({name: positive})
    return result
