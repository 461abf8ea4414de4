"""Seal of a NetCDF file: a checksum of everything but its chunks, behind the end of the file.

Chunks have Fletcher checksums. HDF5 has none for some of the structure around them, and with a changed byte of it
libhdf5 searches the file without end. The seal is compared without libhdf5; readers of HDF5 do not see it. Only if it
is broken is the file read in a process of its own first, with a limit of time.

    places of chunks (begin, end), twice | footer, twice

No changed byte hides it. Tools that write the file anew remove it.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

#: Signature, number of places, length of the file, checksums of its structure and of the places; one of these follows.
_FOOTER = struct.Struct("<8sQQII")
_LENGTH = _FOOTER.size + 4
_SIGNATURE = b"xvarseal"
_BLOCK = 1 << 20

#: Seconds, and seconds a byte, that reading a damaged file may take.
SECONDS, SECONDS_A_BYTE = 60.0, 1e-7
_READ = """
import contextlib, sys, netCDF4
with netCDF4.Dataset(sys.argv[1]) as file:
    for group in (file, *file.groups.values()):
        for part in (group, *group.variables.values()):
            attributes = [part.getncattr(name) for name in part.ncattrs()]
        for part in group.variables.values():
            for index in range(part.shape[0]) if part.ndim > 2 else (...,):
                with contextlib.suppress(OSError, RuntimeError, ValueError):  # damaged values
                    values = part[index]
"""


def seal(path: Path) -> None:
    """Add a seal to a NetCDF-4 file that has none."""
    places = _places(path)
    with path.open("r+b") as file:
        length = file.seek(0, os.SEEK_END)
        content = places.tobytes()
        footer = _FOOTER.pack(_SIGNATURE, len(places), length, _checksum(file, places, length), zlib.crc32(content))
        file.seek(length)
        file.write(2 * content + 2 * (footer + zlib.crc32(footer).to_bytes(4, "little")))


def is_intact(path: Path) -> bool:
    """Return False if the structure of a file is not as it was sealed; True for a file without a seal."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        footer = _footer(file, size)
        if footer is None:
            return True
        _, count, length, structure, content = footer
        if length + 2 * (16 * count + _LENGTH) != size:
            return False
        file.seek(length)
        for _ in range(2):
            places = file.read(16 * count)
            if zlib.crc32(places) == content:
                return bool(_checksum(file, np.frombuffer(places, "<i8").reshape(-1, 2), length) == structure)
    return False


def is_readable(path: Path) -> bool:
    """Return True if libhdf5 opens a file and comes to an end of it, tried in a process of its own."""
    limit = SECONDS + SECONDS_A_BYTE * path.stat().st_size
    try:
        subprocess.run([sys.executable, "-c", _READ, path], timeout=limit, capture_output=True, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return False
    return True


def _footer(file: IO[bytes], size: int) -> tuple[Any, ...] | None:
    """Return the content of a footer that is undamaged, None without one."""
    for number in (1, 2):
        if number * _LENGTH <= size:
            file.seek(size - number * _LENGTH)
            content = file.read(_LENGTH)
            if content.startswith(_SIGNATURE) and zlib.crc32(content[:-4]) == int.from_bytes(content[-4:], "little"):
                return _FOOTER.unpack(content[:-4])
    return None


def _places(path: Path) -> NDArray[np.int64]:
    """Return begin and end of the chunks of a file in order, neighbours as one."""
    import h5py

    found: list[tuple[int, int]] = []

    def visit(_: str, part: Any) -> None:
        if isinstance(part, h5py.Dataset) and part.chunks is not None:
            part.id.chunk_iter(lambda chunk: found.append((chunk.byte_offset, chunk.byte_offset + chunk.size)))

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    every = np.array(sorted(found), "<i8").reshape(-1, 2)
    is_first = np.append(True, every[1:, 0] != every[:-1, 1])[: len(every)]
    is_last = np.append(is_first[1:], True)[: len(every)]
    return np.stack([every[is_first, 0], every[is_last, 1]], axis=1)


def _checksum(file: IO[bytes], places: NDArray[np.int64], length: int) -> int:
    """Return the CRC-32 of a file of some length without what is at `places` (begin, end)."""
    found = 0
    for begin, end in zip([0, *places[:, 1].tolist()], [*places[:, 0].tolist(), length], strict=True):
        file.seek(begin)
        while begin < end and (block := file.read(min(_BLOCK, end - begin))):
            found, begin = zlib.crc32(block, found), begin + len(block)
    return found
