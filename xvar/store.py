"""Files in and out: what was not written whole never bears the name that was asked for."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from xvar.errors import InputError, Problem

NETCDF = (".nc", ".nc4", ".netcdf", ".cdf")
ZARR = (".zarr",)


def open_files(names: Sequence[str | Path]) -> xr.Dataset:
    """Open one file, or several as one record.

    Parameters
    ----------
    names : sequence of str or Path
        Files of NetCDF or any other format that xarray reads, Zarr stores, or patterns such as ``radar_*.nc``.

    Returns
    -------
    Dataset
        Several files are joined along their coordinates, lazily.

    Raises
    ------
    InputError
        Where a file is not there, cannot be read, or does not fit the others.
    """
    paths = [path for name in names for path in _matching(str(name))]
    try:
        if len(paths) == 1:
            return xr.open_dataset(paths[0], engine="zarr" if paths[0].suffix in ZARR else None)
        return xr.open_mfdataset(
            paths, combine="by_coords", data_vars="minimal", coords="minimal", compat="equals", join="exact"
        )
    except PermissionError as error:
        raise InputError(_unreadable(paths, "not readable by you", "its permissions")) from error
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        what = f"no data that xarray can open: {_first_line(error)}"
        raise InputError(_unreadable(paths, what, "NetCDF or Zarr, or install the reader of its format")) from error


def _matching(name: str) -> list[Path]:
    """Files of a name or of a pattern."""
    path = Path(name).expanduser()
    if path.exists():
        return [path]
    if glob.has_magic(name):
        root = Path(path.anchor)  # Path.glob takes no pattern that begins at the root
        found = sorted(root.glob(str(path.relative_to(root))))
        if found:
            return found
        raise InputError(
            Problem(f"no file that matches {name!r}", "one at least", f"check the pattern, in the folder {Path.cwd()}")
        )
    raise InputError(Problem(f"no file {name!r}", "a file that exists", f"check the name, in the folder {Path.cwd()}"))


def _unreadable(paths: Sequence[Path], what: str, fix: str) -> Problem:
    names = ", ".join(str(path) for path in paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    return Problem(f"{names}: {what}", "files that xarray reads as one Dataset", fix)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def check_target(path: str | Path, *, overwrite: bool = False) -> Path:
    """Refuse a place where nothing can be written, before anything was computed.

    Raises
    ------
    InputError
        Where the suffix says neither NetCDF nor Zarr, the folder is missing, or there is something already.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() not in (*NETCDF, *ZARR):
        raise InputError(
            Problem(f"output {str(path)!r}", "a name that ends in .nc or .zarr", f"-o {target.with_suffix('.nc')}")
        )
    if not target.parent.is_dir():
        raise InputError(
            Problem(f"no folder {str(target.parent)!r}", "a folder that exists", f"mkdir -p {target.parent}")
        )
    if target.exists() and not overwrite:
        raise InputError(Problem(f"{str(path)!r}, which exists", "a new name", "another name, or --overwrite"))
    return target


def write(dataset: xr.Dataset, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a Dataset whole or not at all.

    It is written beside its place under another name, flushed to the disk and renamed: a reader finds what was there
    before or all of the new, also where the writer is killed.

    Parameters
    ----------
    dataset : Dataset
        Computed here, where it is lazy.
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
        See `check_target`; where Zarr is not installed.
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
            Problem("a Zarr store to write without the package zarr", "zarr", "pip install 'xvar[zarr]', or -o NAME.nc")
        ) from error
    # Format 3 has no consolidated metadata, and zarr warns where it is written all the same.
    dataset.to_zarr(path, mode="w", consolidated=int(zarr.__version__.split(".")[0]) < 3)


def _replace_folder(interim: Path, target: Path) -> None:
    """Put a folder in the place of another, which no system call does at once."""
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
    """Bring a file or the entries of a folder to the disk."""
    # Not every system opens folders.
    with contextlib.suppress(PermissionError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
