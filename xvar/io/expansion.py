"""Bounds on the size of a decoded chunk, found before a library decodes it.

Libraries allocate what a chunk decodes to, whatever the array declares: 5 MB of deflate may become 5 GB.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence

#: Codecs that change no size by more than a few bytes; they stand before a compressor, checksums also after it.
CHECKSUMS = frozenset({"fletcher32", "crc32", "crc32c", "adler32"})
SAME_SIZE = CHECKSUMS | {"bytes", "transpose", "shuffle", "delta", "fixedscaleoffset", "quantize", "bitround"}
#: Makes the error of a fault from its code, the place in the file or store, and a description.
Refuse = Callable[[str, str, str], Exception]
#: Bytes that a whole file may take in any case.
HARMLESS = 64_000_000
#: Bytes that a chunk may decode to beyond what it declares.
SLACK = 65_536
_DEFLATE_RATIO, _LZF_RATIO = 1032, 90
_PIECE = 16_384
_ZSTD_BLOCK = 131_072


def _inflate(content: memoryview, limit: int) -> int:
    """Return the inflated size of zlib or gzip members, counted up to the limit."""
    total, rest = 0, bytes(content[: len(content)])
    while rest:
        inflate = zlib.decompressobj(wbits=47)  # the header says whether it is zlib or gzip
        try:
            for begin in range(0, len(rest), _PIECE):
                total += len(inflate.decompress(rest[begin : begin + _PIECE]))
                if inflate.eof or total > limit:
                    break
        except zlib.error:  # the reader fails there, too
            return total
        if not inflate.eof or total > limit:
            return total
        rest = (inflate.unused_data + rest[begin + _PIECE :]).lstrip(b"\0")
    return total


def _zstd(content: memoryview, limit: int) -> int:
    """Return what the headers of Zstandard frames and blocks state (RFC 8878)."""
    total, place = 0, 0
    try:
        while place < len(content) and total <= limit:
            (magic,) = struct.unpack_from("<I", content, place)
            if magic & 0xFFFFFFF0 == 0x184D2A50:  # a frame to be skipped
                place += 8 + int(struct.unpack_from("<I", content, place + 4)[0])
                continue
            if magic != 0xFD2FB528:
                break
            flags = content[place + 4]
            single, size_bytes = flags >> 5 & 1, (1, 2, 4, 8)[flags >> 6] if flags >> 6 or flags >> 5 & 1 else 0
            place += 5 + (not single) + (0, 1, 2, 4)[flags & 3]
            stated = int.from_bytes(content[place : place + size_bytes], "little") + (256 if size_bytes == 2 else 0)
            place += size_bytes
            blocks, last = 0, 0
            while not last:
                header = int.from_bytes(content[place : place + 3], "little")
                if place + 3 > len(content):
                    break
                last, kind, size = header & 1, header >> 1 & 3, header >> 3
                blocks += _ZSTD_BLOCK if kind == 2 else size
                place += 3 + (1 if kind == 1 else size)
            place += 4 * (flags >> 2 & 1)
            total += stated if size_bytes else blocks
    except (struct.error, IndexError):
        pass  # it ends in a header: the reader fails there, too
    return total


def _number(place: int) -> Callable[[memoryview, int], int]:
    """Return a reader of the size that a header states; the library allocates that."""
    return lambda content, limit: int.from_bytes(content[place : place + 4], "little")


_SIZES: dict[str, Callable[[memoryview, int], int]] = {
    "zlib": _inflate,
    "gzip": _inflate,
    "deflate": _inflate,
    "zstd": _zstd,
    "blosc": _number(4),
    "lz4": _number(0),
    "szip": _number(0),
    "lzf": lambda content, limit: _LZF_RATIO * len(content),
}
COMPRESSORS = frozenset(_SIZES)


def one_compressor(codecs: Sequence[str]) -> bool:
    """Return True if codecs, in the order of encoding, end in one compressor at most, but for checksums."""
    rest = [name for name in codecs if name not in CHECKSUMS]
    return all(name in SAME_SIZE for name in rest[:-1])


def expands(codecs: Sequence[str], size: int, read: Callable[[], memoryview], declared: int, whole: int) -> bool:
    """Return True if a stored chunk of `size` bytes may decode to far more than the `declared` bytes.

    `codecs` are in the order of encoding, see `one_compressor`. The size of deflate is known only by inflating: it is
    inflated if it might exceed what is harmless for an array that declares `whole` bytes.
    """
    limit = 4 * declared + SLACK
    compressor = next((name for name in codecs if name in _SIZES), None)
    if compressor is None:
        return size > limit
    if _SIZES[compressor] is _inflate and _DEFLATE_RATIO * size <= max(limit, 3 * whole, HARMLESS):
        return False
    return _SIZES[compressor](read(), limit) > limit
