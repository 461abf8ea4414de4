"""Files at URLs, by fsspec: what xarray's readers cannot seek in is copied, Zarr stores are read where they are."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from xvar.errors import Fault, InputError

EXTRA = "pip install 'xvar[remote]' brings http and s3"


def is_url(name: str) -> bool:
    """Whether a name is one of fsspec: ``s3://bucket/radar.nc``, ``filecache::https://...``."""
    return "://" in name or "::" in name


def fetch(url: str) -> list[Path]:
    """Copies of the files that a URL or a pattern names, in their order, for as long as the process lives.

    Parameters
    ----------
    url : str
        As fsspec takes it. ``filecache::`` before it keeps a copy for the next time, too.

    Raises
    ------
    InputError
        Where the protocol is not known or what it needs is not installed, nothing answers, or there is no such file.
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
    except ImportError as error:
        raise InputError(Fault(f"{url!r}: {_line(error)}", "what fsspec needs for it", EXTRA)) from error
    except Exception as error:  # each protocol has errors of its own
        fix = "check the address, and whether you may read it"
        raise InputError(Fault(f"{url!r}: {_line(error)}", "a file that can be read there", fix)) from error
    if not found or not all(path.is_file() for path in found):
        raise InputError(Fault(f"no file at {url!r}", "one at least", "check the address or the pattern"))
    return found


def zarr_options(url: str) -> dict[str, Any]:
    """How xarray opens a Zarr store at a URL: it warns where it looks for consolidated metadata that are not there.

    Raises
    ------
    InputError
        Where zarr, or what the protocol needs, is not installed, or nothing answers.
    """
    try:
        import zarr  # noqa: F401
        from fsspec import get_mapper

        store = get_mapper(url)
        described = store.get("zarr.json", b"")
        consolidated = ".zmetadata" in store or b'"consolidated_metadata"' in described
    except ImportError as error:
        fix = f"pip install 'xvar[zarr]' brings zarr, {EXTRA}"
        raise InputError(Fault(f"{url!r}: {_line(error)}", "what it needs installed", fix)) from error
    except Exception as error:
        fix = "check the address, and whether you may read it"
        raise InputError(Fault(f"{url!r}: {_line(error)}", "a Zarr store that can be read there", fix)) from error
    return {"engine": "zarr", "consolidated": consolidated}


def _resolve(url: str) -> tuple[Any, list[str]]:
    """The file system of a URL, and the files in it that are meant."""
    from fsspec.core import get_fs_token_paths

    system, _, names = get_fs_token_paths(url, mode="rb")
    return system, sorted(names)


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="xvar-")


def _folder() -> str:
    """Where copies lie; it goes with the process."""
    return _scratch().name


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
