"""Files in and out: what cannot be read or written is named, and nothing half written bears a name."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import xarray as xr

from tests.faults.codes import raised
from tests.faults.images import rainy, warm
from xvar.io import reading
from xvar.io.reading import open_files
from xvar.io.writing import check_target, write


def test_files_of_other_grids_are_named(tmp_path) -> None:
    record = rainy(6)
    record.isel(time=slice(0, 3)).to_netcdf(tmp_path / "a.nc")
    record.isel(time=slice(3, 6), x=slice(2, None)).to_netcdf(tmp_path / "b.nc")
    raised(
        lambda: open_files([tmp_path / "a.nc", tmp_path / "b.nc"]),
        "different-grids",
        dimension="x",
        names=("a.nc", "b.nc"),
    )
    (tmp_path / "c.nc").write_bytes(b"no data")
    raised(lambda: open_files([tmp_path / "a.nc", tmp_path / "c.nc"]), "unreadable-file", names="c.nc")


def test_one_image_is_no_record(tmp_path) -> None:
    rainy().isel(time=0, drop=True).to_netcdf(tmp_path / "one.nc")
    with open_files([tmp_path / "one.nc"]) as opened:
        raised(opened.var4d.assimilate, "variable-missing")


def test_several_files_and_patterns(tmp_path) -> None:
    record = rainy(6)
    for index in range(3):
        record.isel(time=slice(2 * index, 2 * index + 2)).to_netcdf(tmp_path / f"part_{index}.nc")
    with open_files([str(tmp_path / "part_*.nc")]) as opened:
        xr.testing.assert_equal(opened.load(), record)
    raised(lambda: open_files([str(tmp_path / "none_*.nc")]), "file-not-found")


def test_what_you_may_not_read_is_named(tmp_path, monkeypatch) -> None:
    rainy().to_netcdf(tmp_path / "mine.nc")

    def forbidden(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reading.xr, "open_dataset", forbidden)
    raised(lambda: open_files([tmp_path / "mine.nc"]), "not-permitted", names="mine.nc")
    monkeypatch.setattr(reading, "formats", forbidden)
    raised(lambda: open_files([tmp_path / "mine.nc"]), "not-permitted")


def test_a_target_is_refused_before_anything_is_computed(tmp_path) -> None:
    raised(lambda: check_target(tmp_path / "analysis.txt"), "unknown-suffix", names="analysis.txt")
    raised(lambda: check_target("."), "unknown-suffix")
    raised(lambda: check_target(tmp_path / "absent" / "a.nc"), "missing-folder")
    (tmp_path / "a.nc").write_text("mine")
    raised(lambda: check_target(tmp_path / "a.nc"), "file-exists")
    assert check_target(tmp_path / "a.nc", overwrite=True) == tmp_path / "a.nc"


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_what_is_written_is_whole_or_is_not(tmp_path, suffix) -> None:
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    target = tmp_path / f"a{suffix}"
    assert write(warm(), target) == target
    with open_files([target]) as read:
        xr.testing.assert_equal(read.load(), warm())
    write(warm(5), target, overwrite=True)
    with open_files([target]) as read:
        assert read.sizes["time"] == 5

    def fails(dataset: xr.Dataset, path: pathlib.Path, **options: object) -> None:
        if suffix == ".zarr":  # a part of it is there
            path.mkdir()
            (path / "zarr.json").write_text("{")
        raise OSError(28, "No space left on device")

    failing = warm()
    failing["sst"] = failing["sst"].copy(data=np.ones(failing["sst"].shape))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xr.Dataset, "to_netcdf" if suffix == ".nc" else "to_zarr", fails)
        with pytest.raises(OSError, match="No space left"):
            write(failing, target, overwrite=True)
    with open_files([target]) as read:
        assert read.sizes["time"] == 5
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_file_gives_way_to_a_store_of_its_name(tmp_path) -> None:
    pytest.importorskip("zarr")
    (tmp_path / "a.zarr").write_text("a file of that name")
    write(warm(), tmp_path / "a.zarr", overwrite=True)
    assert (tmp_path / "a.zarr").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_without_zarr_the_package_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    raised(lambda: write(warm(), tmp_path / "a.zarr"), "missing-extra")
    assert not list(tmp_path.iterdir())


def test_a_file_whose_groups_cannot_be_read_has_none(tmp_path, monkeypatch) -> None:
    xr.Dataset(attrs={"title": "empty"}).to_netcdf(tmp_path / "empty.nc")

    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("NetCDF: HDF error")

    monkeypatch.setattr(reading.xr, "open_datatree", broken)
    with open_files([tmp_path / "empty.nc"]) as opened:
        assert not opened.data_vars


def test_groups_are_named_and_what_has_none_is_left_to_the_reader(tmp_path) -> None:
    xr.DataTree.from_dict({"/radar": rainy()}).to_netcdf(tmp_path / "tree.nc")
    raised(lambda: open_files([tmp_path / "tree.nc"]), "variables-in-groups")
    with open_files([tmp_path / "tree.nc"], group="radar") as opened:
        assert "rain" in opened
    xr.Dataset(attrs={"title": "empty"}).to_netcdf(tmp_path / "empty.nc")
    with open_files([tmp_path / "empty.nc"]) as opened:
        assert not opened.data_vars
