"""Radar volumes of ODIM_H5 through xradar: written here, opened, and assimilated."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.faults.codes import raised
from tests.faults.shell import shell
from xvar.io.odim import open_odim

h5py = pytest.importorskip("h5py")
SPEED = (8.0, 5.0)  # m/s towards east and north
RAYS, GATES, LENGTH = 360, 120, 500.0


def volume(
    path, minutes: int, *, latitude: float = 50.0, quantity: str = "DBZH", hole: bool = False, site: str = "test"
) -> None:
    """A volume of one sweep: cells of rain that drift, no echo elsewhere, and rays that did not look."""
    azimuth = np.deg2rad(np.arange(RAYS) + 0.5)[:, None]
    distance = (np.arange(GATES) + 0.5) * LENGTH
    x, y = distance * np.sin(azimuth) - 60 * minutes * SPEED[0], distance * np.cos(azimuth) - 60 * minutes * SPEED[1]
    echo = sum(
        45 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 5e3**2)
        for a, b in ((-8e3, 4e3), (12e3, -15e3), (5e3, 20e3), (-22e3, -12e3), (25e3, 6e3), (-15e3, 25e3))
    )
    codes = np.where(echo > 1, np.round((echo + 32) / 0.5), 0).astype("uint8")
    if hole:
        codes[30:34] = 255
    begin = datetime.datetime(2024, 1, 1) + datetime.timedelta(minutes=minutes)
    end = begin + datetime.timedelta(seconds=20)

    def text(group, **attrs) -> None:
        group.attrs.update({key: np.bytes_(v) if isinstance(v, str) else v for key, v in attrs.items()})

    with h5py.File(path, "w") as file:
        text(file, Conventions="ODIM_H5/V2_2")
        text(file.create_group("what"), object="PVOL", version="H5rad 2.2", source=f"WMO:00000,NOD:{site}")
        text(file["what"], date=f"{begin:%Y%m%d}", time=f"{begin:%H%M%S}")
        text(file.create_group("where"), lat=latitude, lon=4.0, height=100.0)
        sweep = file.create_group("dataset1")
        text(sweep.create_group("where"), elangle=0.5, nbins=GATES, nrays=RAYS, rscale=LENGTH, rstart=0.0, a1gate=0)
        text(sweep.create_group("what"), product="SCAN", startdate=f"{begin:%Y%m%d}", starttime=f"{begin:%H%M%S}")
        text(sweep["what"], enddate=f"{end:%Y%m%d}", endtime=f"{end:%H%M%S}")
        sweep.create_group("how")
        data = sweep.create_group("data1")
        data.create_dataset("data", data=codes)
        text(data.create_group("what"), quantity=quantity, gain=0.5, offset=-32.0, nodata=255.0, undetect=0.0)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{minutes:02d}.h5" for minutes in (0, 5, 10, 15)]
    for path in paths:
        volume(path, int(path.stem), hole=path.stem == "05")
    return paths


def test_without_xradar_it_is_named(files, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "xradar", None)
    raised(lambda: open_odim(files), "missing-extra", names="00.h5")


def test_volumes_become_images_whose_motion_is_found(files, tmp_path) -> None:
    pytest.importorskip("xradar")
    record = open_odim(files[::-1])
    echo = record["DBZH"]
    assert (record["time"].diff("time") / np.timedelta64(1, "m") == 5).all()
    assert float(echo.min()) == -32
    assert np.isnan(echo[0].sel(x=-59e3, y=-59e3))
    assert bool(echo[1].isnull().sum() > echo[0].isnull().sum())
    # A cell stands where it was put: azimuth and distance are not mixed up.
    top = echo[0].where((abs(echo["x"] + 8e3) < 3e3) & (abs(echo["y"] - 4e3) < 3e3)).argmax(("y", "x"))
    assert abs(float(echo["x"][top["x"]]) + 8e3) <= 1000
    assert abs(float(echo["y"][top["y"]]) - 4e3) <= 1000
    analysis = record.var4d.assimilate()
    raining = (echo[-1] > 20).values
    for name, speed in zip(("u", "v"), SPEED, strict=True):
        assert float(np.median(analysis[name].values[0, -1][raining])) == pytest.approx(speed, abs=1.5)
    rain = xvar.rain_rate(echo).to_dataset().assign(crs=record["crs"])
    assert (rain.var4d.assimilate()["status"] == 1).all()
    # The shell takes the same files as they are.
    code, text = shell("assimilate", *files, "-o", tmp_path / "analysis.nc")
    assert code == 0, text
    with xr.open_dataset(tmp_path / "analysis.nc") as written:
        xr.testing.assert_equal(written["u"], analysis["u"])


def test_what_is_wrong_is_named(files, tmp_path) -> None:
    pytest.importorskip("xradar")
    raised(lambda: open_odim(files, sweep=3), "unreadable-file", names="00.h5")
    raised(lambda: open_odim(files, "RATE"), "unknown-quantity")
    volume(tmp_path / "wind.h5", 0, quantity="VRADH")
    raised(lambda: open_odim(tmp_path / "wind.h5"), "unknown-quantity")
    volume(tmp_path / "other.h5", 20, latitude=51.0)
    raised(lambda: open_odim([*files, tmp_path / "other.h5"]), "different-grids", names="other.h5")
    volume(tmp_path / "total.h5", 20, quantity="TH")
    raised(lambda: open_odim([*files, tmp_path / "total.h5"]), "different-quantities", names="total.h5")


def test_of_several_sites_one_is_chosen(files, tmp_path, monkeypatch) -> None:
    pytest.importorskip("xradar")
    for minutes in (0, 5, 10):
        volume(tmp_path / f"north-{minutes:02d}.h5", minutes, latitude=51.0, site="north")
    pattern = str(tmp_path / "*.h5")
    message = raised(lambda: xvar.open(pattern), "several-sites", names=("test (4 files)", "north (3 files)"))
    assert "site='test'" in message
    one = xvar.open(pattern, site="north")
    assert one.sizes["time"] == 3
    assert one["crs"].attrs["latitude_of_projection_origin"] == 51.0
    xr.testing.assert_identical(xvar.open(pattern, site="test").load(), open_odim(files))
    message = raised(lambda: xvar.open(pattern, site="nort"), "unknown-site", names=("north", "test"))
    assert "did you mean 'north'?" in message
    # The fix of the shell is a flag that makes the line run.
    monkeypatch.chdir(tmp_path)
    code, text = shell("info", pattern)
    assert (code, [fault.code for fault in text.faults]) == (2, ["several-sites"])
    assert "--site test" in text
    assert shell("info", pattern, "--site", "test")[0] == 0
