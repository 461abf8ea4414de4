"""Write files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from xvar.errors import Fault, InputError

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
        raise InputError(
            Fault(
                f"output {str(path)!r}",
                f"a name that ends in {usual}",
                f"-o {target.with_suffix(suffixes[0])}",
                code="unknown-suffix",
            )
        )
    if not target.parent.is_dir():
        raise InputError(
            Fault(
                f"no folder {str(target.parent)!r}",
                "a folder that exists",
                f"mkdir -p {target.parent}",
                code="missing-folder",
            )
        )
    if target.exists() and not overwrite:
        raise InputError(
            Fault(f"{str(path)!r}, which exists", "a new name", "another name, or --overwrite", code="file-exists")
        )
    return target


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
    """
    target = check_target(path, overwrite=overwrite)
    interim = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        if target.suffix.lower() in ZARR:
            _write_zarr(dataset, interim)
            for folder, _, names in os.walk(interim):
                for name in names:
                    _flush(Path(folder) / name)
            _replace_folder(interim, target)
        else:
            dataset.to_netcdf(interim, engine="netcdf4")
            _flush(interim)
            interim.replace(target)
        _flush(target.parent)
    finally:
        if interim.is_dir():
            shutil.rmtree(interim)
        interim.unlink(missing_ok=True)
    return target


def _write_zarr(dataset: xr.Dataset, path: Path) -> None:
    try:
        import zarr
    except ImportError as error:
        raise InputError(
            Fault(
                "a Zarr store to write without the package zarr",
                "zarr",
                "pip install 'xvar[zarr]', or -o NAME.nc",
                code="missing-extra",
            )
        ) from error
    # Format 3 has no consolidated metadata, and zarr warns if they are written.
    dataset.to_zarr(path, mode="w", consolidated=int(zarr.__version__.split(".")[0]) < 3)


def _replace_folder(interim: Path, target: Path) -> None:
    """Replace a folder by another, which no system call does at once."""
    if not target.exists():
        interim.replace(target)
        return
    former = target.with_name(f".{target.name}.{os.getpid()}.former")
    target.replace(former)
    interim.replace(target)
    if former.is_dir():
        shutil.rmtree(former)
    else:
        former.unlink()


def _flush(path: Path) -> None:
    """Flush a file or the entries of a folder to the disk."""
    # Not every system opens folders.
    with contextlib.suppress(PermissionError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
