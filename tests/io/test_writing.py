"""Files are written whole or not at all, also if the disk refuses."""

from __future__ import annotations

import pathlib
import sys

import pytest
import xarray as xr

from tests.faults.images import warm
from xvar.io.writing import StoreError, write


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the size of files")
@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_names_the_path_and_leaves_nothing(name: str, exists: bool, tmp_path: pathlib.Path) -> None:
    import resource

    path, record = tmp_path / name, warm(40)
    if exists:
        write(warm(), path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StoreError) as info:
            write(record, path, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(path) in str(info.value)
    assert "Fix: free space there" in str(info.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ([name] if exists else [])
    if exists:
        with xr.open_dataset(path) if name == "a.nc" else xr.open_zarr(path, consolidated=False) as found:
            xr.testing.assert_equal(found.load(), warm())
