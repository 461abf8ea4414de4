"""Seals of files: any changed byte of the structure is found before HDF5 opens the file."""

from __future__ import annotations

import pathlib

import h5py
import numpy as np
import pytest
import xarray as xr

from xvar.io.structure import is_intact, seal


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """A sealed file with chunks, values without chunks, and text of any length, which is in a heap without checksum."""
    rng = np.random.default_rng(0)
    file = xr.Dataset(
        {"a": (("t", "x"), rng.random((6, 40))), "b": ("x", rng.random(40)), "c": 1.5, "d": ("t", list("rainsn"))}
    )
    path = tmp_path / "a.nc"
    file.to_netcdf(path, encoding={"a": {"chunksizes": (2, 20), "zlib": True}})
    seal(path)
    return path


def test_readers_do_not_see_it(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert is_intact(path)
    for engine in ("netcdf4", "h5netcdf"):
        with xr.open_dataset(path, engine=engine) as found:
            assert found["d"].values.tolist() == list("rainsn")
    with h5py.File(path) as file:
        assert file["b"].shape == (40,)
    with xr.open_dataset(path) as found:
        found.to_netcdf(tmp_path / "copy.nc")
    assert is_intact(tmp_path / "copy.nc")  # without a seal


def test_any_changed_byte_of_the_structure_is_found(path: pathlib.Path) -> None:
    content, chunks = path.read_bytes(), np.zeros(path.stat().st_size, bool)
    with h5py.File(path) as file:
        file["a"].id.chunk_iter(
            lambda chunk: chunks.__setitem__(slice(chunk.byte_offset, chunk.byte_offset + chunk.size), True)
        )
    assert chunks.sum() > 1000
    footer = content.index(b"xvarseal")
    end = int.from_bytes(content[footer + 16 :][:8], "little")
    assert end < footer
    for place in [*range(0, end, 7), *range(end, len(content))]:
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        # A seal has a copy, and chunks have checksums of their own.
        assert is_intact(path) == (chunks[place] or place >= end), place


@pytest.mark.parametrize("cut", [1, 40, 100])
def test_a_file_that_lost_its_end_has_no_seal(path: pathlib.Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    assert is_intact(path)  # HDF5 itself finds a file that is too short


def test_a_file_that_is_longer_is_not_intact(path: pathlib.Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:5000] + b"\0" + content[5000:])
    assert not is_intact(path)


def test_no_file_is_too_short(tmp_path: pathlib.Path) -> None:
    for length in (0, 10, 36, 50, 72):
        (tmp_path / "a.nc").write_bytes(b"\0" * length)
        assert is_intact(tmp_path / "a.nc")
