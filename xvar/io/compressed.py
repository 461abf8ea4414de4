"""Whole files compressed by gzip or bzip2: they are unpacked before a reader opens them."""

from __future__ import annotations

import bz2
import gzip
import shutil
import tempfile
from pathlib import Path
from typing import Any

from xvar.errors import InputError
from xvar.io.remote import scratch

_OPENERS: dict[bytes, Any] = {b"\x1f\x8b\x08": gzip.open, b"BZh": bz2.open}
#: The largest file that is unpacked, in bytes.
LARGEST = 2_000_000_000
_PIECE = 1_000_000


def unpacked(path: Path) -> Path:
    """Return a path itself, or of a compressed file that of an unpacked copy, kept until the process ends.

    InputError if the file is broken, or unpacks to more than `LARGEST` or the space on the disk.
    """
    if not path.is_file():
        return path
    with path.open("rb") as file:
        opener = _OPENERS.get(file.read(3))
    if opener is None:
        return path
    target = Path(tempfile.mkdtemp(dir=scratch().name)) / (path.stem if path.suffix in (".gz", ".bz2") else path.name)
    room = min(LARGEST, shutil.disk_usage(target.parent).free)
    try:
        with opener(path) as source, target.open("wb") as copy:
            written = 0
            while piece := source.read(_PIECE):
                written += len(piece)
                if written > room:
                    raise _broken(path, "expanding-file", f"a file that unpacks to more than {room / 1e9:.3g} GB")
                copy.write(piece)
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            target.unlink()
            raise
        raise _broken(path, "broken-file", f"broken: {error}") from error
    return target


def _broken(path: Path, code: str, what: str) -> InputError:
    expected, fix = "a whole file, compressed by gzip or bzip2", "copy or download it again, or unpack it yourself"
    return InputError(code=code, found=f"{path}: {what}", expected=expected, fix=fix)
