"""Headers of the classic format: whole ones pass; a broken count is named before netCDF-C sees it."""

from __future__ import annotations

import struct

import netCDF4
import numpy as np
import pytest

from tests.faults.codes import raised
from tests.faults.images import rainy
from xvar.io.netcdf import broken_header
from xvar.io.reading import open_files

FORMATS = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")


def whole(path, kind: str) -> None:
    """A file with all that a header can hold: records, attributes of each type, names that need padding, no values."""
    with netCDF4.Dataset(path, "w", format=kind) as file:
        file.createDimension("t", None)
        file.createDimension("xyz", 3)
        file.title, file.numbers = "a title", np.arange(5, dtype="int16")
        file.byte, file.double = np.int8(3), 1.5
        for name, dims, dtype in (("scalar", (), "f8"), ("record", ("t", "xyz"), "f4"), ("text", ("xyz",), "S1")):
            file.createVariable(name, dtype, dims).note = "x" * len(name)
        file["record"][:] = np.ones((2, 3))


@pytest.mark.parametrize("kind", FORMATS)
def test_whole_files_pass(tmp_path, kind) -> None:
    path = tmp_path / "whole.nc"
    whole(path, kind)
    assert broken_header(path) is None
    netCDF4.Dataset(tmp_path / "empty.nc", "w", format=kind).close()
    assert broken_header(tmp_path / "empty.nc") is None


def test_other_formats_are_not_looked_at(tmp_path) -> None:
    rainy().to_netcdf(tmp_path / "four.nc")
    assert broken_header(tmp_path / "four.nc") is None
    (tmp_path / "page.nc").write_bytes(b"<html>")
    assert broken_header(tmp_path / "page.nc") is None


@pytest.mark.parametrize("kind", FORMATS)
def test_a_header_that_ends_anywhere_is_broken(tmp_path, kind) -> None:
    """Cut at every byte: the header ends where the first variable begins, and no earlier."""
    whole(tmp_path / "whole.nc", kind)
    content = (tmp_path / "whole.nc").read_bytes()
    data = min(content.find(np.ones(1, ">f4").tobytes() * 3), len(content))
    cut, found = tmp_path / "cut.nc", []
    for end in range(4, data - 64, 3):
        cut.write_bytes(content[:end])
        found.append(broken_header(cut))
    assert all(found)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda c: c[:12] + struct.pack(">I", 2**31) + c[16:], "counts 2147483648 dimensions"),
        (lambda c: c[:8] + struct.pack(">I", 11) + c[12:], "list of dimensions begins with 11"),
        (lambda c: c[:8] + struct.pack(">I", 0) + c[12:], "list of dimensions begins with 0"),
        (lambda c: c[:16] + struct.pack(">I", 2**30) + c[20:], "characters of a name"),
        (lambda c: c.replace(b"numbers\0" + struct.pack(">I", 3), b"numbers\0" + struct.pack(">I", 99)), "type 99"),
        (
            lambda c: c.replace(b"numbers\0" + struct.pack(">II", 3, 5), b"numbers\0" + struct.pack(">II", 3, 2**28)),
            "values of an attribute",
        ),
        (
            lambda c: c.replace(
                b"record\0\0" + struct.pack(">III", 2, 0, 1), b"record\0\0" + struct.pack(">III", 2, 0, 7)
            ),
            "variable 'record' has a dimension 7 of 2",
        ),
    ],
)
def test_broken_counts_are_named(tmp_path, what, words) -> None:
    path = tmp_path / "whole.nc"
    whole(path, "NETCDF3_CLASSIC")
    content = path.read_bytes()
    changed = what(content)
    assert changed != content
    path.write_bytes(changed)
    assert words in str(broken_header(path))
    raised(lambda: open_files([path]), "broken-file", names="whole.nc")


def test_data_that_begin_beyond_the_end(tmp_path) -> None:
    path = tmp_path / "whole.nc"
    whole(path, "NETCDF3_CLASSIC")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 24 - 16])
    assert "ends after byte" in str(broken_header(path))
