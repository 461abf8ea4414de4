"""`xvar.open`: mixed folders, times twice, times of names, compressed files, readers that are missing."""

from __future__ import annotations

import bz2
import datetime
import gzip
import pathlib
import sys

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.faults.codes import raised
from tests.faults.images import rainy
from tests.faults.shell import refused_by_shell, shell
from tests.io.producers import files
from xvar.errors import InputWarning
from xvar.io import compressed, odim
from xvar.io.filenames import time_from_name
from xvar.io.producers.table import PRODUCERS
from xvar.io.reading import open_files


def one_a_file(folder: pathlib.Path, frames: int = 4, name: str = "radar_{:%Y%m%d%H%M}.nc", **attrs: str) -> list:
    """Images without a time, which only their names state."""
    record = rainy(frames)
    paths = []
    for index in range(frames):
        moment = datetime.datetime(2024, 6, 1, 12) + index * datetime.timedelta(minutes=5)
        paths.append(folder / name.format(moment))
        record.isel(time=index, drop=True).assign_attrs(attrs).to_netcdf(paths[-1])
    return paths


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("201609281445_fmi.radar.composite.lowest_FIN_SUOMI1.pgm", "2016-09-28T14:45"),
        ("T_PAAH21_C_EUOC_20240601180000.hdf", "2024-06-01T18:00"),
        ("66_20201031_233000.prcp-c10.nc", "2020-10-31T23:30"),
        ("S_NWC_CRR_MSG4_Europe-VISIR_20180601T070000Z.nc", "2018-06-01T07:00"),
        ("MRMS_PrecipRate_00.00_20190610-000200.grib2", "2019-06-10T00:02"),
        ("AQC151351545F_00005.801.gif", "2015-05-15T15:45"),
        ("raa01-ry_10000-2106010005-dwd---bin", "2021-06-01T00:05"),
        ("OR_ABI-L2-RRQPEF-M6_G16_s20191620000123_e20191620009431_c1.nc", "2019-06-11T00:00:12"),
        ("sst_20240601.nc", "2024-06-01T00:00"),
    ],
)
def test_times_of_names(name, expected) -> None:
    assert time_from_name(pathlib.Path(name)) == datetime.datetime.fromisoformat(expected)


@pytest.mark.parametrize("name", ["radar.nc", "20249999.nc", "model-1234567890123456.nc"])
def test_names_without_a_time(name) -> None:
    assert time_from_name(pathlib.Path(name)) is None


def test_a_stated_form_is_found_anywhere_in_the_name() -> None:
    path = pathlib.Path("site12_01.06.2024-1205.nc")
    assert time_from_name(path, "%d.%m.%Y-%H%M") == datetime.datetime(2024, 6, 1, 12, 5)
    raised(lambda: time_from_name(path, "%Y%m%d"), "no-time-in-name")


def test_the_time_of_a_name_and_a_stated_one(tmp_path) -> None:
    one_a_file(tmp_path)
    record = xvar.open(str(tmp_path / "radar_*.nc"))
    assert record["rain"].dims[0] == "time"
    assert (record["time"].diff("time") == np.timedelta64(5, "m")).all()
    other = xvar.open(str(tmp_path / "radar_*.nc"), time_from_name="%Y%m%d%H%M")
    xr.testing.assert_identical(record, other)
    folder = tmp_path / "numbered"
    folder.mkdir()
    one_a_file(folder, name="radar-{:%H.%M}.nc")
    raised(lambda: xvar.open(folder), "no-time", dimension="time")
    code, text = shell("info", str(folder / "*.nc"), "--time-from-name", "%H.%M")
    assert code == 0, text
    refused_by_shell("info", str(folder / "*.nc"), code="no-time", names=("--time-from-name",))


def test_of_mixed_products_the_most_frequent_is_read_and_the_others_are_counted(tmp_path) -> None:
    files.opera(tmp_path)
    files.opera_maximum(tmp_path)
    raised(lambda: xvar.open(tmp_path), "mixed-products", names=("RATE", "DBZH"))
    with pytest.warns(InputWarning, match="4 files are no such images"):
        assert xvar.open(tmp_path, "RATE").sizes["time"] == 4
    sorted(tmp_path.glob("T_PABV*"))[0].unlink()
    (tmp_path / "README.txt").write_text("about these files")
    with pytest.warns(InputWarning) as caught:
        record = xvar.open(str(tmp_path / "*"))
    assert set(record.data_vars) == {"RATE", "crs"}
    assert any("3 files with DBZH (MAX)" in str(one.message) for one in caught)
    assert any("README.txt" in str(one.message) for one in caught)
    raised(lambda: xvar.open(tmp_path, "VRADH"), "unknown-quantity")


def test_products_of_one_quantity_are_told_apart(tmp_path) -> None:
    files.opera(tmp_path)
    files.opera(tmp_path, product="PPI", name="T_PAAH22")
    raised(lambda: xvar.open(tmp_path), "mixed-products", names=("COMP", "PPI"))
    assert xvar.open(str(tmp_path / "T_PAAH22*")).attrs["product"] == "PPI"


def test_a_time_in_two_files_is_read_once_or_refused(tmp_path) -> None:
    files.rmi(tmp_path)
    first, second, *_ = sorted(tmp_path.iterdir())
    (tmp_path / "copy.hdf").write_bytes(first.read_bytes())
    with pytest.warns(InputWarning, match="1 frames are in two files"):
        assert xvar.open(tmp_path).sizes["time"] == 4
    import h5py

    with h5py.File(tmp_path / "copy.hdf", "a") as file:
        file["dataset1/data1/data"][10, 10] = 99.0
    raised(lambda: xvar.open(tmp_path), "duplicate-times", names=("copy.hdf", first.name), dimension="time")
    assert second.exists()


def test_a_time_in_two_netcdf_files_is_refused(tmp_path) -> None:
    """In the shell the last file replaced the first."""
    record = rainy(6)
    record.isel(time=slice(0, 4)).to_netcdf(tmp_path / "a.nc")
    (record.isel(time=slice(3, 6)) * 2).assign_attrs(record.attrs).to_netcdf(tmp_path / "b.nc")
    for call in (open_files, xvar.open):
        raised(lambda call=call: call([tmp_path / "a.nc", tmp_path / "b.nc"]), "duplicate-times", names="b.nc")
    refused_by_shell("info", tmp_path / "a.nc", tmp_path / "b.nc", code="duplicate-times")
    for index, name in enumerate(("c.nc", "d.nc")):
        (record.isel(time=[0]) + index).to_netcdf(tmp_path / name)
    raised(lambda: open_files([tmp_path / "c.nc", tmp_path / "d.nc"]), "duplicate-times")


def test_negative_rain_is_set_to_zero_if_that_is_asked_for(tmp_path) -> None:
    record = rainy()
    record["rain"][0, 3, 3] = -1.0
    record.to_netcdf(tmp_path / "radar.nc")
    assert float(xvar.open(tmp_path / "radar.nc")["rain"].min()) == -1
    clipped = xvar.open(tmp_path / "radar.nc", clip_negative=True)["rain"]
    assert float(clipped.min()) == 0
    assert clipped.attrs == record["rain"].attrs
    out = tmp_path / "a.nc"
    refused_by_shell("assimilate", tmp_path / "radar.nc", "-o", out, code="negative-rain", names=("--clip-negative",))
    code, text = shell("assimilate", tmp_path / "radar.nc", "-o", out, "--clip-negative")
    assert code == 0, text


def test_compressed_files(tmp_path, monkeypatch) -> None:
    rainy().to_netcdf(tmp_path / "radar.nc")
    content = (tmp_path / "radar.nc").read_bytes()
    for suffix, packer in (("gz", gzip), ("bz2", bz2)):
        (tmp_path / f"radar.nc.{suffix}").write_bytes(packer.compress(content))
        xr.testing.assert_equal(xvar.open(tmp_path / f"radar.nc.{suffix}").load(), rainy())
        (tmp_path / f"half.nc.{suffix}").write_bytes(packer.compress(content)[:-200])
        raised(lambda suffix=suffix: xvar.open(tmp_path / f"half.nc.{suffix}"), "broken-file", names="half.nc")
    monkeypatch.setattr(compressed, "LARGEST", 1000)
    raised(lambda: xvar.open(tmp_path / "radar.nc.gz"), "expanding-file")


@pytest.mark.parametrize(
    ("package", "content", "extra"),
    [
        ("cfgrib", b"GRIB" + bytes(99), "grib"),
        ("rioxarray", b"II*\0" + bytes(99), "geotiff"),
        ("wradlib", b"RY011200100000624BY 1620151VS 3" + bytes(99), "radolan"),
    ],
)
@pytest.mark.parametrize("trusted", [False, True])
def test_a_reader_that_is_missing_is_named_with_the_line_that_installs_it(
    package, content, extra, trusted, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "file").write_bytes(content)
    line = f"pip install 'xvar[{extra}]'"
    assert raised(lambda: xvar.open(tmp_path / "file", trusted=trusted), "missing-extra").faults[0].fix == line
    refused_by_shell("info", tmp_path / "file", code="missing-extra", names=(line,))


def test_composites_need_no_reader_of_volumes(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "xradar", None)
    pattern = files.opera(tmp_path)
    assert xvar.open(str(tmp_path / pattern)).sizes["time"] == 4
    assert odim.open_odim(sorted(tmp_path.iterdir())).sizes["time"] == 4


def test_damaged_bytes_are_said_to_be_damaged(tmp_path) -> None:
    pattern = files.opera(tmp_path)
    path = sorted(tmp_path.glob(pattern))[0]
    path.write_bytes(path.read_bytes()[:3000])
    raised(lambda: xvar.open(path), "broken-file")


def test_metadata_that_are_absent_are_no_damage(tmp_path) -> None:
    import h5py

    path = tmp_path / "rate.hdf"
    files.rmi(tmp_path)
    sorted(tmp_path.iterdir())[0].rename(path)
    with h5py.File(path, "a") as file:
        del file["where"].attrs["projdef"]
    assert "download" not in raised(lambda: xvar.open(path), "unreadable-file").faults[0].fix


def test_corners_that_contradict_the_pixels(tmp_path) -> None:
    import h5py

    files.meteoswiss_hdf5(tmp_path)
    with pytest.warns(InputWarning, match="read as km"):
        record = xvar.open(tmp_path)
    np.testing.assert_allclose(np.diff(record["x"]), 1000, rtol=1e-6)
    with h5py.File(sorted(tmp_path.iterdir())[0], "a") as file:
        file["where"].attrs["xscale"] = 1500.0
    raised(lambda: xvar.open(sorted(tmp_path.iterdir())[0]), "implausible-spacing")


def test_a_grib_file_has_no_groups(tmp_path, shared_data) -> None:
    pytest.importorskip("cfgrib")
    files.mrms(tmp_path, shared_data / "raw")
    path = sorted(tmp_path.iterdir())[0]
    (tmp_path / "rain.grib2").write_bytes(gzip.decompress(path.read_bytes()))
    with open_files([tmp_path / "rain.grib2"], trusted=False) as opened:
        assert opened.sizes == {"latitude": files.SIDE, "longitude": files.SIDE}


def test_hostile_files_are_refused(tmp_path) -> None:
    """What no engine of xarray reads is checked, too."""
    import struct
    import zipfile

    (tmp_path / "large.gif").write_bytes(b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(99))
    raised(lambda: xvar.open(tmp_path / "large.gif"), "larger-than-memory")
    (tmp_path / "short.gif").write_bytes(b"GIF89a")
    raised(lambda: xvar.open(tmp_path / "short.gif"), "broken-file")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04" + bytes(99))
    raised(lambda: xvar.open(tmp_path / "broken.npz"), "broken-file")
    with zipfile.ZipFile(tmp_path / "lzma.npz", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("data.npy", bytes(99))
    raised(lambda: xvar.open(tmp_path / "lzma.npz"), "unknown-filter")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    raised(lambda: xvar.open(tmp_path / "other.npz"), "unknown-producer")
    assert "xvar.open" in raised(lambda: xvar.open_untrusted(tmp_path / "other.npz"), "unknown-format").faults[0].fix


def test_no_code_of_meteonets_dates_runs(tmp_path) -> None:
    """They are pickled: the pickle is read, not loaded."""
    touched = tmp_path / "touched"

    class Harm:
        def __reduce__(self):
            return pathlib.Path.touch, (touched,)

    dates = np.array([datetime.datetime(2024, 6, 1), Harm()], dtype=object)
    np.savez(tmp_path / "rainfall_NW_2024.npz", data=np.zeros((2, 4, 4), "int16"), dates=dates)
    raised(lambda: xvar.open(tmp_path / "rainfall_NW_2024.npz"), "unreadable-file")
    assert not touched.exists()


def test_an_analysis_is_opened_as_it_is(tmp_path) -> None:
    analysis = rainy().var4d.assimilate()
    analysis.to_netcdf(tmp_path / "analysis.nc")
    xr.testing.assert_equal(xvar.open(tmp_path / "analysis.nc").load(), analysis)


def test_rows_of_the_table_are_told_apart_by_content() -> None:
    names = [(row.name, row.format) for row in PRODUCERS]
    assert len(set(names)) == len(names)
