"""Files in and out: what was not written whole never bears the name that was asked for."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from xvar.cf.units import normalise_units, same_units
from xvar.errors import Fault, InputError
from xvar.io.classic import broken_header
from xvar.io.odim import is_odim, open_odim
from xvar.io.remote import fetch, is_url, zarr_options

NETCDF = (".nc", ".nc4", ".netcdf", ".cdf")
ZARR = (".zarr",)


def open_files(names: Sequence[str | Path], group: str | None = None) -> xr.Dataset:
    """Open one file, or several as one record.

    Parameters
    ----------
    names : sequence of str or Path
        Files of NetCDF or any other format that xarray reads, Zarr stores, or patterns such as ``radar_*.nc``; URLs of
        these as fsspec takes them, ``s3://bucket/radar_*.nc``. Files at URLs are copied first, Zarr stores are not.
    group : str, optional
        The group of the file that holds the record.

    Returns
    -------
    Dataset
        Several files are joined along their coordinates, lazily.

    Raises
    ------
    InputError
        Where a file is not there, cannot be read, or does not fit the others; where all it has is in groups and none
        was named.
    """
    if len(names) == 1 and is_url(str(names[0])) and str(names[0]).rstrip("/").endswith(ZARR):
        return _open_remote_zarr(str(names[0]), group)
    paths = [path for name in names for path in (fetch(str(name)) if is_url(str(name)) else _matching(str(name)))]
    for path in paths:
        if path.is_file() and not path.stat().st_size:
            raise InputError(_unreadable([path], "empty, 0 bytes", "copy or download it again"))
        wrong = _broken(path)
        if wrong is not None:
            raise InputError(_unreadable([path], f"broken: {wrong}", "copy or download it again"))
    if group is None and is_odim(paths[0]):
        return open_odim(paths)
    units: dict[str, dict[str, str]] = {}
    try:
        if len(paths) == 1:
            opened = xr.open_dataset(paths[0], group=group, **_reader(paths[0]))
        else:
            opened = xr.open_mfdataset(
                paths,
                combine="by_coords",
                data_vars="minimal",
                coords="minimal",
                compat="equals",
                join="exact",
                preprocess=partial(_note_units, units),
                group=group,
            )
    except PermissionError as error:
        raise InputError(_unreadable(paths, "not readable by you", "its permissions")) from error
    except Exception as error:  # readers of broken files raise whatever they stumble over
        _refuse_other_grids(paths, group)
        what = f"no data that xarray can open: {_first_line(error)}"
        fix = "copy or download it again where it is broken; else NetCDF or Zarr, or install the reader of its format"
        raise InputError(_unreadable(paths, what, fix)) from error
    _refuse_mixed_units(units)
    if not opened.data_vars and group is None:
        groups = _groups(paths[0])
        if groups:
            opened.close()
            raise InputError(
                Fault(
                    f"{paths[0]}: no variables but in groups: {', '.join(groups[:10])}",
                    "the name of one",
                    f"--group {groups[0]}, or xarray.open_dataset(path, group={groups[0]!r})",
                )
            )
    return opened


def _open_remote_zarr(url: str, group: str | None) -> xr.Dataset:
    options = zarr_options(url)
    try:
        return xr.open_dataset(url, group=group, **options)
    except Exception as error:  # as of files
        what = f"{url!r}: no data that xarray can open: {_first_line(error)}"
        raise InputError(Fault(what, "a Zarr store", "check the address")) from error


def _broken(path: Path) -> str | None:
    """What is wrong with a header that the library behind xarray would trust."""
    try:
        return broken_header(path) if path.is_file() else None
    except OSError:
        return None  # what cannot be read at all is told by the reader


def _reader(path: Path) -> dict[str, Any]:
    """How a store is opened: xarray warns where it looks for consolidated metadata that are not there."""
    if path.suffix not in ZARR:
        return {}
    described = path / "zarr.json"
    text = described.read_text(encoding="utf-8", errors="replace") if described.is_file() else ""
    return {"engine": "zarr", "consolidated": (path / ".zmetadata").exists() or '"consolidated_metadata"' in text}


def _refuse_other_grids(paths: Sequence[Path], group: str | None) -> None:
    """Refuse files that can each be read, but are of different grids."""
    grids: dict[str, dict[str, tuple[int, float, float]]] = {}
    for path in paths if len(paths) > 1 else []:
        try:
            with xr.open_dataset(path, group=group, **_reader(path)) as one:
                grids[str(path)] = {
                    str(dim): (one.sizes[dim], float(one[dim][0]), float(one[dim][-1]))
                    for dim in one.dims
                    if one.sizes[dim] and one[dim].dtype.kind in "iuf"
                }
        except Exception:  # noqa: BLE001 -- a file that cannot be read is another matter, which the caller tells
            return
    first, grid = next(iter(grids.items()), ("", {}))
    for name, other in grids.items():
        for dim in grid.keys() & other.keys():
            if grid[dim] != other[dim]:
                (a, begin, end), (b, from_, to) = grid[dim], other[dim]
                raise InputError(
                    Fault(
                        f"{a} points along {dim!r}, {begin:g} to {end:g}, in {first} and {b}, {from_:g} to {to:g}, in "
                        f"{name}",
                        "one grid in all files of a record",
                        f"choose what they share, ds.sel({dim}=slice(...)), or run them apart",
                        dimension=dim,
                    )
                )


def _note_units(units: dict[str, dict[str, str]], dataset: xr.Dataset) -> xr.Dataset:
    """Note the units of the variables of a file: where files are joined those of the first stand for all."""
    name = str(dataset.encoding.get("source", "a file"))
    for key, variable in dataset.variables.items():
        if "units" in variable.attrs:
            units.setdefault(str(key), {})[name] = normalise_units(str(variable.attrs["units"]))
    return dataset


def _refuse_mixed_units(units: Mapping[str, Mapping[str, str]]) -> None:
    faults = []
    for key, by_file in units.items():
        first, own = next(iter(by_file.items()))
        other = next((name for name, text in by_file.items() if text != own and not same_units(text, own)), None)
        if other is not None:
            faults.append(
                Fault(
                    f"{own!r} in {first} and {by_file[other]!r} in {other}",
                    "the same units in all files of a record",
                    "convert one of them, or run them apart",
                    variable=key,
                )
            )
    if faults:
        raise InputError(*faults)


def _groups(path: Path) -> list[str]:
    """Groups of a file that hold variables."""
    try:
        tree = xr.open_datatree(path, **_reader(path))
    except Exception:  # noqa: BLE001 -- as above; then there is nothing to name
        return []
    with tree:
        return [node.path.lstrip("/") for node in tree.subtree if node.data_vars and node.path != "/"]


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
            Fault(f"no file that matches {name!r}", "one at least", f"check the pattern, in the folder {Path.cwd()}")
        )
    raise InputError(Fault(f"no file {name!r}", "a file that exists", f"check the name, in the folder {Path.cwd()}"))


def _unreadable(paths: Sequence[Path], what: str, fix: str) -> Fault:
    names = ", ".join(str(path) for path in paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    return Fault(f"{names}: {what}", "files that xarray reads as one Dataset", fix)


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
    if re.match(r"\w{2,}::?/", str(path)):  # a Path has one stroke less
        fix = "-o analysis.nc, and then copy it there"
        raise InputError(Fault(f"output {str(path)!r}", "a place on this machine", fix))
    target = Path(path).expanduser()
    if target.suffix.lower() not in (*NETCDF, *ZARR):
        raise InputError(
            Fault(f"output {str(path)!r}", "a name that ends in .nc or .zarr", f"-o {target.with_suffix('.nc')}")
        )
    if not target.parent.is_dir():
        raise InputError(
            Fault(f"no folder {str(target.parent)!r}", "a folder that exists", f"mkdir -p {target.parent}")
        )
    if target.exists() and not overwrite:
        raise InputError(Fault(f"{str(path)!r}, which exists", "a new name", "another name, or --overwrite"))
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
            Fault("a Zarr store to write without the package zarr", "zarr", "pip install 'xvar[zarr]', or -o NAME.nc")
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
