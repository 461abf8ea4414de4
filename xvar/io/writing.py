"""Write files whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from xvar.errors import Fault, InputError, require
from xvar.io.durable import disk_errors, remove, replace, sync, sync_all

NETCDF = (".nc", ".nc4", ".netcdf", ".cdf")
ZARR = (".zarr",)


def check_target(
    path: str | Path,
    *,
    overwrite: bool = False,
    suffixes: Sequence[str] = (*NETCDF, *ZARR),
    usual: str = ".nc or .zarr",
) -> Path:
    """Return the path if a file can be written, before anything is computed; `usual` are suffixes for the message.

    InputError if the suffix is not among `suffixes`, the folder is missing, or the file exists without `overwrite`.
    """
    if re.match(r"\w{2,}::?/", str(path)):  # a Path keeps one slash only
        fix = "-o analysis.nc, and then copy it there"
        raise InputError(Fault(f"output {str(path)!r}", "a place on this machine", fix, code="remote-output"))
    target = Path(path).expanduser()
    if target.suffix.lower() not in suffixes:
        fix = f"-o {target.with_suffix(suffixes[0])}"
        raise InputError(Fault(f"output {str(path)!r}", f"a name that ends in {usual}", fix, code="unknown-suffix"))
    refuse_missing_folder(target)
    if target.exists() and not overwrite:
        raise InputError(
            Fault(f"{str(path)!r}, which exists", "a new name", "another name, or --overwrite", code="file-exists")
        )
    return target


def refuse_missing_folder(target: Path) -> None:
    """Raise InputError if the folder of a file to write is missing."""
    if not target.parent.is_dir():
        fix = f"mkdir -p {target.parent}"
        raise InputError(Fault(f"no folder {str(target.parent)!r}", "a folder that exists", fix, code="missing-folder"))


def write(dataset: xr.Dataset, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a Dataset whole or not at all.

    It is written beside its place under another name, flushed to the disk and renamed: a reader finds the former file
    or all of the new one, also if the writer is killed.

    Parameters
    ----------
    dataset : Dataset
        Computed if it is lazy.
    path : str or Path
        NetCDF or Zarr by its suffix.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        See `check_target`; if Zarr is not installed.
    StoreError
        If the disk refuses: an OSError with the path.
    """
    target = check_target(path, overwrite=overwrite)
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    with disk_errors(target, "nothing was written"):
        try:
            if target.suffix.lower() in ZARR:
                zarr = require("zarr", "zarr", "a Zarr store to write", ", or -o NAME.nc")
                # Format 3 has no consolidated metadata, and zarr warns if they are written.
                dataset.to_zarr(draft, mode="w", consolidated=int(zarr.__version__.split(".")[0]) < 3)
                sync_all(draft.rglob("*"), draft)
            else:
                dataset.to_netcdf(draft, engine="netcdf4")
                sync(draft)
            replace(draft, target)
        finally:
            remove(draft)
    return target
