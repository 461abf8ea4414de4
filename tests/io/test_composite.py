"""Composites of ODIM_H5, as weather services hand them out: written here, opened, and assimilated."""

from __future__ import annotations

import datetime

import numpy as np
import pyproj
import pytest

import xvar
from tests.faults.codes import raised
from tests.faults.shell import shell
from tests.records import drifting
from xvar.io.odim import open_odim

h5py = pytest.importorskip("h5py")
pytest.importorskip("xradar")
#: The map of OPERA.
PROJECTION = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84"
SIDE, SCALE, CORNER = 48, 2000.0, (1.2e6, -1.5e6)
EVENTS = drifting((16.0, -10.0), size=SIDE)["sst"].values  # on cells of 1 km; here of 2 km, in 4 minutes for 2


def composite(path, frame: int, *, quantity: str = "DBZH", corner=CORNER, object_name: str = "COMP", **told) -> None:
    """One image: the first row lies in the north, a corner was not looked at, and low echoes were not seen."""
    echo = 15 + 10 * (EVENTS[frame] - 15)
    codes = np.where(echo > 0, np.round((echo + 32) / 0.5), 0).astype("uint8")
    codes[:3, :3] = 255
    moment = datetime.datetime(2024, 6, 1, 12) + frame * datetime.timedelta(minutes=4)
    longitude, latitude = pyproj.Proj(PROJECTION)(*corner, inverse=True)

    def text(group, **attrs) -> None:
        group.attrs.update({key: np.bytes_(v) if isinstance(v, str) else v for key, v in attrs.items()})

    with h5py.File(path, "w") as file:
        text(file, Conventions="ODIM_H5/V2_2")
        text(file.create_group("what"), object=object_name, date=f"{moment:%Y%m%d}", time=f"{moment:%H%M%S}")
        where = {"projdef": PROJECTION, "xscale": SCALE, "yscale": SCALE, "LL_lon": longitude, "LL_lat": latitude}
        text(file.create_group("where"), xsize=SIDE, ysize=SIDE, **where)
        for number, name in enumerate(("ACRR", quantity), 1):
            dataset = file.create_group(f"dataset{number}")
            # Scales may be told of the group around, the name of the quantity inside.
            text(dataset.create_group("what"), gain=0.5, offset=-32.0, nodata=255.0, undetect=0.0, **told)
            data = dataset.create_group("data1")
            data.create_dataset("data", data=codes[::-1])
            text(data.create_group("what"), quantity=name)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"composite-{frame}.h5" for frame in range(4)]
    for frame, path in enumerate(paths):
        composite(path, frame)
    return paths


def test_composites_keep_their_map_and_their_motion_is_found(files, tmp_path) -> None:
    record = open_odim(files[::-1])
    echo = record["DBZH"]
    assert echo.attrs["units"] == "dBZ"
    assert (record["time"].diff("time") / np.timedelta64(1, "m") == 4).all()
    # A pixel stands where it is, its middle half a step from the corner; the first row is the northernmost.
    np.testing.assert_allclose(record["x"], CORNER[0] + SCALE * (np.arange(SIDE) + 0.5), atol=1e-3)
    np.testing.assert_allclose(record["y"], CORNER[1] + SCALE * (np.arange(SIDE)[::-1] + 0.5), atol=1e-3)
    assert record["crs"].attrs["grid_mapping_name"] == "lambert_azimuthal_equal_area"
    images = 15 + 10 * (EVENTS - 15)
    known = np.ones(images.shape, dtype=bool)
    known[:, :3, :3] = False
    ascending = echo.sortby("y").values
    np.testing.assert_array_equal(np.isnan(ascending), ~known)
    seen = images > 0.25
    np.testing.assert_allclose(ascending[seen & known], images[seen & known], atol=0.2501)
    assert (ascending[(images < 0) & known] == -32).all()
    analysis = record.var4d.assimilate()
    inner = analysis.isel(window=0, step=-1, y=slice(8, -8), x=slice(8, -8))
    assert float(inner["u"].median()) == pytest.approx(16, abs=2)
    assert float(inner["v"].median()) == pytest.approx(-10, abs=2)
    rain = xvar.rain_rate(echo).to_dataset().assign(crs=record["crs"])
    assert (rain.var4d.assimilate()["status"] == 1).all()
    code, text = shell("assimilate", *files, "-o", tmp_path / "analysis.nc")
    assert code == 0, text


def test_what_is_wrong_with_a_composite_is_named(files, tmp_path) -> None:
    raised(lambda: open_odim(files, "RATE"), "unknown-quantity", names="composite-0.h5")
    composite(tmp_path / "wind.h5", 0, quantity="VRADH")
    raised(lambda: open_odim(tmp_path / "wind.h5"), "unknown-quantity")
    composite(tmp_path / "moved.h5", 3, corner=(1.3e6, -1.5e6))
    raised(lambda: open_odim([*files, tmp_path / "moved.h5"]), "different-grids", names="moved.h5")
    with h5py.File(files[2], "a") as file:
        del file["where"].attrs["LL_lat"]
    raised(lambda: open_odim(files), "unreadable-file", names="composite-2.h5")
    with h5py.File(files[1], "a") as file:
        del file["what"].attrs["object"]
    raised(lambda: open_odim(files[1]), "unreadable-file", names="composite-1.h5")


def test_rain_rates(tmp_path) -> None:
    composite(tmp_path / "rate.h5", 0, quantity="RATE", object_name="IMAGE")
    record = open_odim(tmp_path / "rate.h5")
    assert record["RATE"].attrs["units"] == "mm h-1"
    assert float(record["RATE"].min()) == 0
