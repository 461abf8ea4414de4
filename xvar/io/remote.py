"""Files at URLs, by fsspec: files are copied, because readers seek in them; Zarr stores are read in place."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from xvar.errors import Fault, InputError
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
        system, names = _resolve(url)
        if "file" in _protocols(system):
            found = [Path(name) for name in names]
        else:
            folders = [Path(tempfile.mkdtemp(dir=_folder())) for _ in names]  # the same name may be in two places
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


def zarr_options(url: str, *, trusted: bool = True) -> dict[str, Any]:
    """Return options for `xarray.open_zarr` of a URL: xarray warns if it looks for consolidated metadata in vain.

    InputError if zarr or the protocol is not installed, nothing answers, or the store fails `check_untrusted_metadata`.
    """
    try:
        import zarr  # noqa: F401
        from fsspec import get_mapper

        store = get_mapper(url)
        consolidated = ".zmetadata" in store or b'"consolidated_metadata"' in store.get("zarr.json", b"")
    except Exception as error:
        raise _unreachable(url, "a Zarr store", error) from error
    if not trusted:
        check_untrusted_metadata(store, url)
    return {"engine": "zarr", "consolidated": consolidated}


def _unreachable(url: str, kind: str, error: Exception) -> InputError:
    """Return the error of a URL that cannot be read: a package is missing, or nothing answers."""
    missing = isinstance(error, ImportError)
    fix = f"{EXTRA}; pip install 'xvar[zarr]' brings zarr" if missing else "check the address, and that you may read it"
    expected = "the package that it needs" if missing else f"{kind} that can be read there"
    code = "missing-package" if missing else "unreadable-url"
    return InputError(Fault(f"{url!r}: {_line(error)}", expected, fix, code=code))


def _resolve(url: str) -> tuple[Any, list[str]]:
    """Return the file system of a URL, and the files in it that match."""
    from fsspec.core import get_fs_token_paths

    system, _, names = get_fs_token_paths(url, mode="rb")
    return system, sorted(names)


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="xvar-")


def _folder() -> str:
    """Return the folder of the copies, which is removed when the process ends."""
    return _scratch().name


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
