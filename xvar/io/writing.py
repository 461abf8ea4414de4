"""Write files whole or not at all, so that they outlive a power cut; errors of the disk name the path and the fix."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import re
import shutil
import sys
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import xarray as xr

from xvar.errors import Fault, InputError, require

NETCDF = (".nc", ".nc4", ".netcdf", ".cdf")
ZARR = (".zarr",)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_SYNCS = 16  # threads


class StoreError(OSError):
    """Results cannot be written or read: the disk is full, the folder is read-only, a file is damaged, ..."""


@contextmanager
def disk_errors(path: str | Path, consequence: str = "the windows in flight stay not run") -> Iterator[None]:
    """Raise errors of the disk as `StoreError`, with the path of the store and the fix."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("NetCDF: "):  # so netCDF reports a full disk
            raise
        number = getattr(error, "errno", None)
        fix = "free space there, or raise the limit of the file size (ulimit -f)"
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            fix = "make it writable"
        text = f"{getattr(error, 'strerror', None) or error}; {consequence}. Fix: {fix}, and run the same command again"
        raise StoreError(number or errno.EIO, text, str(path)) from error


def sync(path: Path) -> None:
    """Bring a file or a directory to the disk."""
    if sys.platform == "win32" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if sys.platform != "win32" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(files: Iterable[Path], root: Path) -> None:
    """Bring files to the disk, with the directories from each of them up to `root`; all at once, which is cheaper."""
    written = [file for file in files if file.is_file()]
    directories = {root, *(parent for file in written for parent in file.parents if parent.is_relative_to(root))}
    list(_pool(os.getpid()).map(sync, [*written, *directories]))


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001  (a process that was forked has none of its threads)
    return ThreadPoolExecutor(_SYNCS, "xvar-sync")


def checksum(path: Path) -> int | None:
    """Return the CRC-32 of the content of a file, None if it is absent."""
    found = 0
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found = zlib.crc32(block, found)
    except FileNotFoundError:
        return None
    return found


@contextmanager
def durable(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that is written all of it or not at all, and is on the disk at the end."""
    draft = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.draft")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace(new: Path, old: Path) -> None:
    """Put a complete file or store in the place of another in one step: no reader finds the place empty.

    If the file system cannot exchange folders, the former store is set aside, from where `restore` recovers it.
    """
    if not old.exists() or (old.is_file() and new.is_file()):
        new.replace(old)
    elif _exchange(new, old):
        remove(new)
    else:
        former = _former(old)
        remove(former)
        old.replace(former)
        new.replace(old)
        remove(former)
    sync(old.parent)


def restore(path: Path) -> None:
    """Put a store back that a run was replacing when it was killed."""
    former = _former(path)
    if former.exists():
        if path.exists():
            remove(former)
        else:
            former.replace(path)


def _former(path: Path) -> Path:
    return path.with_name(f".{path.name}.former")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return False if the system cannot."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(one), os.fsencode(other)
        if sys.platform == "darwin":
            return bool(library.renamex_np(*names, _RENAME_EXCHANGE) == 0)
        return bool(library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
    return False


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
        fix = f"-o {(target / 'output' if target.is_dir() else target).with_suffix(suffixes[0])}"
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
