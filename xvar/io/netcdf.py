"""Check a NetCDF file before netCDF-C opens it.

HDF5: nothing outside of the file is read, nothing expands beyond what it declares. Classic: netCDF-C trusts the counts
in the header, of which a broken one makes it allocate without bounds or loop forever.
"""

from __future__ import annotations

import mmap
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from xvar.io.expansion import HARMLESS, Refuse, expands, one_compressor
from xvar.io.structure import is_intact

#: Filters by their registered number.
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 32000: "lzf", 32001: "blosc", 32015: "zstd"}
#: Strings of variable length: each may refer to the same megabytes.
STRINGS = 100_000
#: Signature and version of a global heap, which has texts and references of variable length.
_HEAP = b"GCOL\x01\0\0\0"


def check_hdf5(path: Path, refuse: Refuse) -> dict[str, int]:
    """Check all links, datasets and chunks; return the declared bytes of each dataset of one dimension."""
    import h5py

    if not is_intact(path):
        raise refuse("broken-file", "/", "a structure that is not as it was written")
    sizes: dict[str, int] = {}
    try:
        with h5py.File(path, "r") as file:
            _check_heaps(path, file.id.get_create_plist().get_sizes()[1], refuse)
            waiting, seen = [("", file["/"])], {h5py.h5o.get_info(file["/"].id).addr}
            while waiting:
                prefix, group = waiting.pop()
                for name in group:
                    place = f"{prefix}/{name}"
                    link = group.get(name, getlink=True)
                    if isinstance(link, h5py.ExternalLink):
                        raise refuse("external-link", place, f"an external link to {link.filename}:{link.path}")
                    if isinstance(link, h5py.SoftLink):
                        continue  # within the file: its target has a link of its own
                    member = group[name]
                    identity = h5py.h5o.get_info(member.id).addr
                    if identity in seen:
                        if isinstance(member, h5py.Group):  # netCDF-C follows a circle of groups without end
                            raise refuse("repeated-group", place, "a group that has another place, too,")
                        continue
                    seen.add(identity)
                    if isinstance(member, h5py.Group):
                        waiting.append((place, member))
                    elif isinstance(member, h5py.Dataset):
                        size = _check_dataset(member, path, place, refuse)
                        if len(member.shape or ()) == 1:
                            sizes[place] = size
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, RecursionError) as error:
        if hasattr(error, "faults"):
            raise
        raise refuse("broken-file", "/", f"a structure that cannot be read ({error})") from error
    return sizes


def _check_heaps(path: Path, width: int, refuse: Refuse) -> None:
    """Check that the objects of each global heap follow one another to its end; lengths have `width` bytes.

    libhdf5 (1.14.6) reads an object of no length without end.
    """
    if width != 8:
        raise refuse("broken-file", "/", f"lengths of {width} bytes")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        heap = content.find(_HEAP)
        while heap >= 0:
            end = heap + int.from_bytes(content[heap + 8 : heap + 16], "little")
            place = heap + 16
            while place + 16 <= min(end, len(content)):
                is_free = content[place : place + 2] == b"\0\0"
                length = int.from_bytes(content[place + 8 : place + 16], "little")
                place += length if is_free else 16 + -(-length // 8) * 8
                if is_free and length < 16:
                    raise refuse("broken-file", "/", f"an object of no length in the heap at byte {heap}")
            heap = content.find(_HEAP, heap + 1)


def _check_dataset(dataset: Any, path: Path, place: str, refuse: Refuse) -> int:
    """Check the storage of a dataset; return the bytes that it declares."""
    if dataset.is_virtual:
        raise refuse("virtual-dataset", place, f"a virtual dataset of {dataset.virtual_sources()[0].file_name}")
    if dataset.external:
        raise refuse("external-storage", place, f"data in another file, {dataset.external[0][0]}")
    plist, item = dataset.id.get_create_plist(), dataset.id.get_type().get_size()
    numbers = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    for number in set(numbers) - set(FILTERS):
        raise refuse("unknown-filter", place, f"filter {number} of HDF5")
    codecs = [FILTERS[number] for number in numbers]
    if not one_compressor(codecs):
        raise refuse("unknown-filter", place, f"filters {', '.join(codecs)}, of which one more compresses")
    size = prod(dataset.shape or ()) * int(item)
    if dataset.dtype.kind == "O":
        _check_strings(dataset, path, place, refuse)
    if dataset.chunks is not None and dataset.shape:
        declared = prod(dataset.chunks) * item
        chunks: list[Any] = []
        dataset.id.chunk_iter(chunks.append)  # nothing else may be read from within
        for info in chunks:

            def read(offset: tuple[int, ...] = info.chunk_offset) -> memoryview:
                return memoryview(dataset.id.read_direct_chunk(offset)[1])

            if expands(codecs, info.size, read, declared, size):
                found = f"a chunk at {info.chunk_offset} that decodes to more than the {declared} bytes it declares"
                raise refuse("expanding-chunk", place, found)
    return size


def _check_strings(dataset: Any, path: Path, place: str, refuse: Refuse) -> None:
    """Check the length of all strings together: elements may share what they refer to."""
    import h5py

    if h5py.check_ref_dtype(dataset.dtype) is not None:
        return
    limit, total = 4 * max(path.stat().st_size, HARMLESS // 4), 0
    if dataset.size and dataset.size > STRINGS:
        raise refuse("too-many-strings", place, f"{dataset.size} values of variable length")
    for index in range(dataset.size or 0):
        value = dataset[np.unravel_index(index, dataset.shape)]
        total += len(value) * getattr(getattr(value, "dtype", None), "itemsize", 1)
        if total > limit:
            raise refuse("expanding-chunk", place, f"strings of more than {limit} bytes in all")


MAGIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
_DIMENSION, _VARIABLE, _ATTRIBUTE = 10, 11, 12
#: Bytes of a value by its type; the last five are of CDF-5 alone.
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
#: The longest header that is read.
HEADER = 64_000_000


class _Header:
    """Read numbers, names and lists within the bytes of the header."""

    def __init__(self, content: bytes, size: int) -> None:
        self.content, self.size, self.place = content, size, 4
        version = content[3]
        self.count_bytes = 8 if version == 5 else 4
        self.offset_bytes = 4 if version == 1 else 8

    def number(self, width: int) -> int:
        begin = self.place
        self.skip(width)
        return int.from_bytes(self.content[begin : self.place], "big")

    def count(self, of: str, least: int = 1) -> int:
        """Return a count of items, of `least` bytes each, that fit into the rest of the header."""
        value = self.number(self.count_bytes)
        if value * least > len(self.content) - self.place:
            raise ValueError(f"its header counts {value} {of} in {self.size} bytes")
        return value

    def skip(self, length: int) -> None:
        self.place += (length + 3) // 4 * 4
        if self.place > len(self.content):
            raise ValueError("it ends in the middle of its header")

    def name(self) -> str:
        length = self.count("characters of a name")
        text = self.content[self.place : self.place + length]
        self.skip(length)
        return text.decode("utf-8", "replace")

    def members(self, tag: int, of: str, least: int) -> int:
        """Return the number of members of a list, after its tag."""
        found = self.number(4)
        value = self.count(of, least)
        if found not in (0, tag) or (found == 0 and value):
            raise ValueError(f"its list of {of} begins with {found}, where {tag} is expected")
        return value

    def attributes(self) -> None:
        for _ in range(self.members(_ATTRIBUTE, "attributes", 8)):
            self.name()
            width = self.kind()
            self.skip(width * self.count("values of an attribute", width))

    def kind(self) -> int:
        value = self.number(4)
        if value not in _BYTES:
            raise ValueError(f"its header names a type {value} that does not exist")
        return _BYTES[value]


def broken_header(path: Path) -> str | None:
    """Return the fault in the header of a classic file; None if there is none, or the file is of another format."""
    with path.open("rb") as file:
        content = file.read(4)
        if content not in MAGIC:
            return None
        content += file.read(HEADER)
    header = _Header(content, path.stat().st_size)
    try:
        records = header.number(header.count_bytes)
        if records == 256**header.count_bytes - 1:  # while it is written
            records = 0
        dimensions = []
        for _ in range(header.members(_DIMENSION, "dimensions", 8)):
            header.name()
            dimensions.append(header.number(header.count_bytes) or records)
        header.attributes()
        for _ in range(header.members(_VARIABLE, "variables", 16)):
            name, values = header.name(), 1
            for _ in range(header.count("dimensions of a variable", header.count_bytes)):
                index = header.number(header.count_bytes)
                if index >= len(dimensions):
                    raise ValueError(f"variable {name!r} has a dimension {index} of {len(dimensions)}")
                values *= dimensions[index]
            header.attributes()
            width = header.kind()
            header.number(header.count_bytes)
            begin = header.number(header.offset_bytes)
            if begin + width * values > header.size:
                raise ValueError(f"variable {name!r} ends after byte {header.size}, the last of the file")
    except ValueError as error:
        return str(error)
    return None
