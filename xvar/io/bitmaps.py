"""Checks of files that hold arrays without an engine of xarray: npz and GIF; they return no coordinates."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from xvar.cf.record import available_memory
from xvar.io.expansion import Refuse

#: Points of a picture, of a byte each.
_POINTS = 100_000_000


def check_npz(path: Path, refuse: Refuse) -> dict[str, int]:
    """Refuse a zip file that is broken or encrypted, or whose members together are larger than memory."""
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise refuse("broken-file", "/", f"a structure that cannot be read ({error})") from error
    for member in members:
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refuse("unknown-filter", member.filename, "an encrypted member, or an unusual compression")
    size = sum(member.file_size for member in members)
    if size > available_memory():
        raise refuse("larger-than-memory", "/", f"{size / 1e9:.3g} GB")
    return {}


def check_gif(path: Path, refuse: Refuse) -> dict[str, int]:
    """Refuse a picture of more points than any composite has: its header states them, and readers allocate that."""
    with path.open("rb") as file:
        head = file.read(10)
    if len(head) < 10:
        raise refuse("broken-file", "/", "a picture that ends in its header")
    columns, rows = struct.unpack_from("<HH", head, 6)
    if columns * rows > _POINTS:
        raise refuse("larger-than-memory", "/", f"a picture of {columns} x {rows} points")
    return {}
