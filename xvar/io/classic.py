"""Check the header of a classic NetCDF file before netCDF-C reads it.

netCDF-C trusts the counts in the header: a broken one makes it allocate without bounds or loop forever.
"""

from __future__ import annotations

from pathlib import Path

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
