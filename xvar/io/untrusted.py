"""Files of strangers: what reaches out of itself is refused before it is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import xarray as xr

from xvar.cf.size import available_memory
from xvar.errors import Fault, InputError
from xvar.io.files import open_files

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def open_untrusted(path: str | Path, group: str | None = None) -> xr.Dataset:
    """Open a file that someone else made, unless it reaches for other files or is larger than memory.

    Parameters
    ----------
    path : str or Path
        NetCDF or a Zarr store.
    group : str, optional
        The group of the file that holds the record.

    Returns
    -------
    Dataset
        Opened lazily; NetCDF and Zarr run no code of the file's.

    Raises
    ------
    InputError
        Where the file has an external link, a virtual dataset or data in another file (HDF5), a symbolic link out of
        the store (Zarr), or a variable that is larger than memory; where the package h5py is missing.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        _refuse_ways_out(place)
    elif place.is_file():
        with place.open("rb") as file:
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                _refuse_links(place)
    dataset = open_files([place], group)
    have = available_memory()
    for name, variable in dataset.variables.items():
        if variable.nbytes > have:
            dataset.close()
            raise InputError(
                Fault(
                    f"{place}: {variable.nbytes / 1e9:.3g} GB of shape {variable.shape}",
                    f"at most the {have / 1e9:.3g} GB of memory of this machine",
                    "xarray.open_dataset(path, chunks={}) where the file is trusted",
                    variable=str(name),
                )
            )
    return dataset


def _refuse_ways_out(store: Path) -> None:
    root = store.resolve()
    for folder, folders, files in os.walk(store):
        for name in (*folders, *files):
            entry = Path(folder) / name
            if entry.is_symlink() and not entry.resolve().is_relative_to(root):
                raise _refused(store, str(entry.relative_to(store)), f"a symbolic link to {entry.resolve()}")


def _refuse_links(path: Path) -> None:
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            Fault(f"{path}: HDF5 to be looked through without the package h5py", "h5py", "pip install h5py")
        ) from error
    try:
        with h5py.File(path, "r") as file:
            _walk(path, file, "/", h5py, set())
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _refused(path, "/", f"a structure that cannot be read: {error}") from error


def _walk(path: Path, group: Any, prefix: str, h5py: Any, seen: set[Any]) -> None:
    """Look at all links of a group before any is followed."""
    for name in group:
        place = f"{prefix}{name}"
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise _refused(path, place, f"an external link to {link.filename}:{link.path}")
        if isinstance(link, h5py.SoftLink):
            continue  # within the file: what it points at has a link of its own
        target = group[name]
        if isinstance(target, h5py.Dataset):
            if target.is_virtual:
                raise _refused(path, place, f"a virtual dataset of {target.virtual_sources()[0].file_name}")
            if target.external:
                raise _refused(path, place, f"data in another file, {target.external[0][0]}")
        elif isinstance(target, h5py.Group) and target.id not in seen:
            seen.add(target.id)
            _walk(path, target, f"{place}/", h5py, seen)


def _refused(path: Path, place: str, what: str) -> InputError:
    return InputError(
        Fault(
            f"{path}: {what} at {place!r}",
            "a file that reaches for nothing but itself",
            "a copy with the data in it (ncks, h5repack), or xarray.open_dataset(path) where the file is trusted",
        )
    )
