"""Files at URLs, by fsspec: files are copied, because readers seek in them; Zarr stores are read in place."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

import xarray as xr

from xvar.errors import Fault, InputError
from xvar.io.formats import first_line
from xvar.io.untrusted import check_untrusted_metadata

EXTRA = "pip install 'xvar[remote]' brings http and s3"


def is_url(name: str) -> bool:
    """Return True for a name of fsspec: ``s3://bucket/radar.nc``, ``filecache::https://...``."""
    return "://" in name or "::" in name


def fetch(url: str) -> list[Path]:
    """Copy the files of a URL or pattern of fsspec, sorted, until the process ends; ``filecache::`` keeps them longer.

    InputError if the protocol is unknown or needs a package that is not installed, nothing answers, or no file matches.
    """
    try:
        from fsspec.core import get_fs_token_paths
        from fsspec.implementations.local import LocalFileSystem

        system, _, names = get_fs_token_paths(url, mode="rb")
        names = sorted(names)
        if isinstance(system, LocalFileSystem):
            found = [Path(name) for name in names]
        else:
            folders = [Path(tempfile.mkdtemp(dir=scratch().name)) for _ in names]  # one name may be in two places
            found = [folder / Path(name).name for folder, name in zip(folders, names, strict=True)]
            for name, target in zip(names, found, strict=True):
                with system.open(name, "rb") as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    except Exception as error:  # each protocol has errors of its own
        raise _unreachable(url, "a file", error) from error
    if not found or not all(path.is_file() for path in found):
        fix = "check the address or the pattern"
        raise InputError(Fault(f"no file at {url!r}", "one at least", fix, code="file-not-found"))
    return found


def open_remote_zarr(url: str, group: str | None, *, trusted: bool) -> xr.Dataset:
    """Open a Zarr store at a URL in place.

    InputError if zarr or the protocol is not installed, nothing answers, or the store fails `check_untrusted_metadata`.
    """
    try:
        import zarr  # noqa: F401
        from fsspec import get_mapper

        store = get_mapper(url)
        # Xarray warns if it looks for consolidated metadata in vain.
        consolidated = ".zmetadata" in store or b'"consolidated_metadata"' in store.get("zarr.json", b"")
    except Exception as error:
        raise _unreachable(url, "a Zarr store", error) from error
    if not trusted:
        check_untrusted_metadata(store, url)
    try:
        return xr.open_dataset(url, group=group, engine="zarr", consolidated=consolidated)
    except Exception as error:
        what = f"{url!r}: no data that xarray can open: {first_line(error)}"
        raise InputError(Fault(what, "a Zarr store", "check the address", code="unreadable-file")) from error


def _unreachable(url: str, kind: str, error: Exception) -> InputError:
    """Return the error of a URL that cannot be read: a package is missing, or nothing answers."""
    missing = isinstance(error, ImportError)
    fix = f"{EXTRA}; pip install 'xvar[zarr]' brings zarr" if missing else "check the address, and that you may read it"
    expected = "the package that it needs" if missing else f"{kind} that can be read there"
    code = "missing-package" if missing else "unreadable-url"
    return InputError(Fault(f"{url!r}: {first_line(error)}", expected, fix, code=code))


@functools.cache
def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return the folder of copies of files, which is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="xvar-")
