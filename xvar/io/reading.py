"""Open files as one record."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from xvar.cf.record import available_memory
from xvar.cf.units import normalise_units, same_units
from xvar.errors import Fault, Faults, InputError
from xvar.io.formats import engine, first_line, formats
from xvar.io.joining import refuse_duplicates
from xvar.io.netcdf import broken_header
from xvar.io.remote import fetch, is_url, open_remote_zarr
from xvar.io.untrusted import check_untrusted
from xvar.io.writing import ZARR

_AGAIN = "copy or download it again"


def open_files(names: Sequence[str | Path], group: str | None = None, *, trusted: bool = True) -> xr.Dataset:
    """Open one file, or several as one record.

    Parameters
    ----------
    names : sequence of str or Path
        Files of NetCDF or any other format that xarray reads, Zarr stores, or patterns such as ``radar_*.nc``; URLs of
        these as fsspec takes them, ``s3://bucket/radar_*.nc``. Files at URLs are copied first, Zarr stores are not.
    group : str, optional
        Group of the file that holds the record.
    trusted : bool
        False: check each file before it is opened, see `open_untrusted`.

    Returns
    -------
    Dataset
        Lazy; several files are joined along their coordinates.

    Raises
    ------
    InputError
        If a file is absent, cannot be read, or does not fit the others; if all variables are in groups and none was
        named; later, if bytes of an analysis are damaged, when they are read.
    """
    if len(names) == 1 and is_url(str(names[0])) and str(names[0]).rstrip("/").endswith(ZARR):
        return open_remote_zarr(str(names[0]), group, trusted=trusted)
    paths = [path for name in names for path in (fetch(str(name)) if is_url(str(name)) else matching(str(name)))]
    for path in paths:
        refuse_empty(path)
    files: list[xr.Dataset] = []
    within: dict[str, Any] = {} if group is None else {"group": group}  # engines of other formats have no groups

    def note(file: xr.Dataset) -> xr.Dataset:
        files.append(file)
        return file

    try:
        engines = [_engine(path, trusted=trusted) for path in paths]
        if len(paths) == 1:
            opened = xr.open_dataset(paths[0], **within, **engines[0])
        else:
            opened = xr.open_mfdataset(
                paths,
                combine="by_coords",
                data_vars="minimal",
                coords="minimal",
                compat="equals",
                join="exact",
                preprocess=note,
                **within,
                # Each has its own engine if they differ, and xarray finds it.
                **(engines[0] if all(other == engines[0] for other in engines) else {}),
            )
    except InputError:
        raise
    except PermissionError as error:
        raise _unreadable("not-permitted", paths, "not readable by you", "its permissions") from error
    except Exception as error:  # readers of broken files raise whatever they stumble over
        _refuse_other_grids(files if len(files) == len(paths) else [])
        refuse_duplicates(files)
        what = f"no data that xarray can open: {first_line(error)}"
        fix = f"{_AGAIN} if it is broken; else NetCDF or Zarr, or install the reader of its format"
        raise _unreadable("unreadable-file", paths, what, fix) from error
    _refuse_mixed_units(files)
    refuse_duplicates(files)
    if not opened.data_vars and group is None:
        groups = _groups(paths[0], engines[0])
        if groups:
            opened.close()
            found = f"{paths[0]}: no variables but in groups: {', '.join(groups[:10])}"
            fix = f"--group {groups[0]}, or xarray.open_dataset(path, group={groups[0]!r})"
            raise InputError(Fault(found, "the name of one", fix, code="variables-in-groups"))
    return report_damage(opened, paths[0]) if len(paths) == 1 else opened


def open_untrusted(path: str | Path, group: str | None = None) -> xr.Dataset:
    """Open a file from an unknown source safely.

    The whole file is checked before it is opened: its format, links and storage outside of it, filters, codecs and
    types, and the size to which each chunk decodes. See :doc:`security`.

    Parameters
    ----------
    path : str or Path
        NetCDF, a Zarr store, GRIB or GeoTIFF.
    group : str, optional
        Group of the file that holds the record.

    Returns
    -------
    Dataset
        Lazy.

    Raises
    ------
    InputError
        If the file has external links or storage, virtual datasets, symbolic links (Zarr), filters or codecs that are
        not known to be safe, values that are objects, chunks that decode to more than they declare, or a variable
        larger than memory.
    """
    place = Path(path).expanduser()
    dataset = open_files([place], group, trusted=False)
    have, faults = available_memory(), Faults()
    for name, variable in dataset.variables.items():
        if variable.nbytes > have:
            faults.add(
                code="larger-than-memory",
                variable=name,
                found=f"{place}: {variable.nbytes / 1e9:.3g} GB of shape {variable.shape}",
                expected=f"at most the {have / 1e9:.3g} GB of memory of this machine",
                fix="xarray.open_dataset(path, chunks={}) if the file is trusted",
            )
    if len(faults):
        dataset.close()
    faults.raise_if_any()
    return dataset


def _engine(path: Path, *, trusted: bool) -> dict[str, Any]:
    """Return how a file is opened; a file that is trusted may be one of any format of xarray."""
    if not trusted:
        return check_untrusted(path)
    found = formats(path)
    wrong = broken_header(path) if "classic" in found else None
    if wrong is not None:
        raise _unreadable("broken-file", [path], f"broken: {wrong}", _AGAIN)
    return engine(path, "zarr") if path.suffix in ZARR and "zarr" in found else {}


def _refuse_other_grids(files: Sequence[xr.Dataset]) -> None:
    """Refuse files that can each be read, but are of different grids."""
    for other in files[1:]:
        for dim in {*files[0].indexes} & {*other.indexes}:
            (a, name, first), (b, other_name, second) = (
                (len(one[dim]), one.encoding.get("source"), one[dim].values) for one in (files[0], other)
            )
            if first.dtype.kind in "iuf" and a and b and (a, *first[[0, -1]]) != (b, *second[[0, -1]]):
                raise InputError(
                    code="different-grids",
                    dimension=str(dim),
                    found=f"{a} points along {dim!r}, {first[0]:g} to {first[-1]:g}, in {name} and {b},"
                    f" {second[0]:g} to {second[-1]:g}, in {other_name}",
                    expected="one grid in all files of a record",
                    fix=f"choose what they share, ds.sel({dim}=slice(...)), or run them apart",
                )


def _refuse_mixed_units(files: Sequence[xr.Dataset]) -> None:
    """Refuse variables with other units than in the first file, which the joined record would have."""
    first: dict[str, tuple[str, str]] = {}
    faults = Faults()
    for file in files:
        name = str(file.encoding.get("source", "a file"))
        for key, variable in file.variables.items():
            if "units" not in variable.attrs:
                continue
            own = normalise_units(str(variable.attrs["units"]))
            text, place = first.setdefault(str(key), (own, name))
            if own != text and not same_units(own, text):
                faults.add(
                    code="different-units",
                    variable=key,
                    found=f"{text!r} in {place} and {own!r} in {name}",
                    expected="the same units in all files of a record",
                    fix="convert one of them, or run them apart",
                )
    faults.raise_if_any()


def _groups(path: Path, options: Mapping[str, Any]) -> list[str]:
    """Return the groups of a file that hold variables."""
    try:
        tree = xr.open_datatree(path, **options)
    except Exception:  # noqa: BLE001 -- as above; then there is nothing to name
        return []
    with tree:
        return [node.path.lstrip("/") for node in tree.subtree if node.data_vars and node.path != "/"]


def matching(name: str) -> list[Path]:
    """Return the files of a name or of a pattern."""
    path = Path(name).expanduser()
    if path.exists():
        return [path]
    found = []
    if glob.has_magic(name):
        root = Path(path.anchor)  # Path.glob takes no pattern that begins at the root
        found = sorted(root.glob(str(path.relative_to(root))))
    if not found:
        what = f"no file that matches {name!r}" if glob.has_magic(name) else f"no file {name!r}"
        fix = f"check the name, in the folder {Path.cwd()}"
        raise InputError(Fault(what, "a file that exists", fix, code="file-not-found"))
    return found


def refuse_empty(path: Path) -> None:
    """Raise InputError if a file has no bytes."""
    if path.is_file() and not path.stat().st_size:
        raise _unreadable("empty-file", [path], "empty, 0 bytes", _AGAIN)


def _unreadable(code: str, paths: Sequence[Path], what: str, fix: str) -> InputError:
    names = ", ".join(str(path) for path in paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    return InputError(Fault(f"{names}: {what}", "files that xarray reads as one Dataset", fix, code=code))


def report_damage(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Return a dataset whose lazy variables, if it is an analysis, raise InputError for damaged bytes with the fix."""
    if "window" not in dataset.dims or "status" not in dataset:
        return dataset
    result = dataset.copy()
    for name, part in dataset.variables.items():
        if not isinstance(part, xr.IndexVariable):
            data = indexing.LazilyIndexedArray(_Reader(part, str(name), path))
            result[name] = xr.Variable(part.dims, data, part.attrs, part.encoding)
    result.set_close(dataset.close)
    return result


@dataclass
class _Reader(BackendArray):
    """Values of a variable of a file, read when they are needed."""

    variable: xr.Variable
    name: str
    path: Path

    def __post_init__(self) -> None:
        self.shape, self.dtype = self.variable.shape, self.variable.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        try:
            return self.variable[key].values
        except Exception as error:  # zarr, numcodecs and HDF5 raise what they like at damaged bytes
            raise InputError(
                code="damaged-analysis",
                variable=self.name,
                found=f"{self.path}, which cannot be read there: {first_line(error)}",
                expected="the bytes that were written",
                fix="start its run again, which solves damaged windows again: the same xvar assimilate, or xvar.run",
            ) from error
