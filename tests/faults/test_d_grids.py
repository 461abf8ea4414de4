"""D. Grids."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import xarray as xr

from tests.faults.codes import raised
from tests.faults.images import SIZE, in_degrees, small, warm
from tests.faults.table import fault, note
from tests.records import drifting
from xvar.errors import InputWarning

FINE = 0.01 * np.arange(SIZE)  # degrees


def moved(result: xr.Dataset) -> tuple[float, float]:
    """Mean motion in the middle of the last step."""
    inner = result.isel(window=0, step=-1, y=slice(6, -6), x=slice(6, -6))
    return float(inner["u"].mean()), float(inner["v"].mean())


@fault(42, "descending rows", "handled: the same analysis")
def test_descending_rows() -> str:
    up, down = warm(), warm().isel(y=slice(None, None, -1))
    one, other = (record.var4d.assimilate(dtype="float64") for record in (up, down))
    assert other["y"][0] > other["y"][-1]
    np.testing.assert_allclose(other.sortby("y")["v"], one["v"], atol=1e-9)
    return "v: the same either way, positive towards increasing y"


@fault(
    43,
    "longitudes of 0 to 360 against -180 to 180",
    "brought into the numbering of the record; refused with both ranges where they do not overlap",
)
def test_numbering_of_longitudes() -> str:
    record = in_degrees(48 + FINE, -5 + FINE)
    background = record["sst"].isel(time=0, drop=True).to_dataset()
    shifted = background.assign_coords(x=("x", background["x"].values + 360, background["x"].attrs))
    expected = record.var4d.assimilate(dynamics="advection", background=background)
    xr.testing.assert_equal(record.var4d.assimilate(dynamics="advection", background=shifted)["u"], expected["u"])
    elsewhere = background.assign_coords(x=("x", background["x"].values + 100, background["x"].attrs))
    return raised(
        lambda: record.var4d.assimilate(dynamics="advection", background=elsewhere),
        "other-points",
        variable="background sst",
        dimension="x",
    )


@fault(44, "a domain across 180 degrees or Greenwich", "handled: the numbering starts anew, the points do not")
def test_across_the_meridian() -> str:
    expected = in_degrees(48 + FINE, 10 + FINE).var4d.assimilate()
    for start in (180 - 0.1, 360 - 0.1):
        longitudes = start + FINE
        longitudes[longitudes >= start + 0.1] -= 360
        result = in_degrees(48 + FINE, longitudes).var4d.assimilate()
        np.testing.assert_allclose(result["u"], expected["u"], atol=1e-3)
        np.testing.assert_array_equal(result["x"], longitudes)
    return note(expected, "latitude and longitude")


@fault(45, "latitude and longitude in degrees", "handled: R cos(lat) dlon; refused near the pole")
def test_latitude_and_longitude() -> str:
    equator, north = (moved(in_degrees(lat + FINE, FINE).var4d.assimilate())[0] for lat in (0.0, 60.0))
    assert north == pytest.approx(equator / 2, rel=0.3)
    return raised(in_degrees(89.5 + FINE, FINE).var4d.assimilate, "pole", variable="y", dimension="y")


@fault(46, "curvilinear grids", "handled: spacing from 2-D latitude and longitude, motion along the grid")
def test_curvilinear() -> str:
    record = warm().drop_vars(["y", "x"])
    record["sst"].attrs["standard_name"] = "sea_surface_temperature"
    y, x = np.meshgrid(0.009 * np.arange(SIZE), 0.009 * np.arange(SIZE), indexing="ij")
    turn = np.deg2rad(30)
    record = record.assign_coords(
        lat=(("y", "x"), y * np.cos(turn) + x * np.sin(turn), {"units": "degrees_north"}),
        lon=(("y", "x"), x * np.cos(turn) - y * np.sin(turn), {"units": "degrees_east"}),
    )
    result = record.var4d.assimilate()
    assert result["u"].attrs["standard_name"] == "surface_sea_water_x_velocity"
    assert moved(result)[0] == pytest.approx(moved(warm().var4d.assimilate())[0], rel=0.02)
    return note(result, "2-D latitude and longitude")


@fault(
    47, "uneven spacing", "handled by the metric where it is smooth; refused with the largest deviation where it is not"
)
def test_uneven_spacing() -> str:
    y = warm()["y"].values.copy()
    y[12:] += 700
    record = warm().assign_coords(y=("y", y, warm()["y"].attrs))
    smooth = warm().assign_coords(y=("y", 1e3 * np.cumsum(1.02 ** np.arange(SIZE)), warm()["y"].attrs))
    assert (smooth.var4d.assimilate()["status"] == 1).all()
    return raised(record.var4d.assimilate, "coordinate-uneven", variable="y", dimension="y", index=11)


@fault(48, "cells that are no squares", "handled: the motion is in metres")
def test_anisotropic() -> str:
    square = drifting((10.0, -5.0), size=48)
    wide = square.assign_coords(x=("x", 2 * square["x"].values, square["x"].attrs))
    np.testing.assert_allclose(moved(square.var4d.assimilate(method="image_motion")), (10, -5), rtol=0.1)
    u, v = moved(wide.var4d.assimilate(method="image_motion"))
    np.testing.assert_allclose((u, v), (20, -5), rtol=0.1)
    return "u, v: 20, -5 m/s on cells of 2 km by 1 km that are crossed as 10, -5 m/s on 1 km by 1 km"


@fault(49, "coordinates in km", "converted by their units; refused without")
def test_kilometres() -> str:
    record = warm()
    km = record.assign_coords({n: (n, record[n].values / 1e3, {**record[n].attrs, "units": "km"}) for n in ("y", "x")})
    np.testing.assert_allclose(km.var4d.assimilate()["u"], record.var4d.assimilate()["u"], atol=1e-4)
    bare = record.assign_coords({n: (n, record[n].values) for n in ("y", "x")})
    return raised(bare.var4d.assimilate, "spacing-unknown", variable="sst")


@fault(50, "no coordinates", "refused; `dx=, dy=` state the spacing")
def test_no_coordinates() -> str:
    record = warm().drop_vars(["y", "x"])
    np.testing.assert_allclose(
        record.var4d.assimilate(dx=1000, dy=1000)["u"], warm().var4d.assimilate()["u"], atol=1e-4
    )
    raised(lambda: record.var4d.assimilate(dx=1000), "spacing-invalid")
    return raised(record.var4d.assimilate, "spacing-unknown", variable="sst")


@fault(51, "latitude and longitude exchanged", "refused")
def test_exchanged() -> str:
    return raised(
        in_degrees(100 + FINE, 48 + FINE).var4d.assimilate,
        "latitude-out-of-range",
        variable="y",
        dimension="y",
        index=23,
    )


@small
@fault(
    52,
    "coordinates that differ in their last digits",
    "snapped to the record: 1e-6 of the spacing, 1e-3 in single precision; refused beyond, with the largest difference",
)
def test_jitter() -> str:
    record = warm()
    background = record["sst"].isel(time=0, drop=True).to_dataset()

    def shifted(by: float, dtype: str = "float64") -> xr.Dataset:
        return background.assign_coords(x=("x", (background["x"].values + by).astype(dtype), background["x"].attrs))

    expected = record.var4d.assimilate(dynamics="advection", background=background)["u"]
    for near in (shifted(1e-5), shifted(0.5, "float32")):
        xr.testing.assert_equal(record.var4d.assimilate(dynamics="advection", background=near)["u"], expected)
    raised(
        lambda: record.var4d.assimilate(dynamics="advection", background=shifted(5, "float32")),
        "other-points",
        variable="background sst",
        dimension="x",
    )
    return raised(
        lambda: record.var4d.assimilate(dynamics="advection", background=shifted(0.5)),
        "other-points",
        variable="background sst",
        dimension="x",
    )


@fault(53, "a background of another size", "refused, with both sizes of each dimension")
def test_another_size() -> str:
    background = warm()["sst"].isel(time=0, y=slice(2, None), drop=True).to_dataset()
    return raised(
        lambda: warm().var4d.assimilate(dynamics="advection", background=background),
        "other-size",
        variable="background sst",
        dimension="y",
    )


@fault(54, "dimensions in another order, or more of them", "brought into order; a further one is refused by its name")
def test_dimensions() -> str:
    expected = warm().var4d.assimilate(dtype="float64")
    turned = warm().transpose("x", "time", "y").expand_dims("depth")
    np.testing.assert_allclose(turned.var4d.assimilate(dtype="float64")["u"], expected["u"], atol=1e-9)
    members = xr.concat([warm(), warm() + 1], dim="member", combine_attrs="override")
    members["sst"].attrs = warm()["sst"].attrs
    return raised(members.var4d.assimilate, "extra-dimension", variable="sst", dimension="member")


@fault(55, "a grid that is too small", "refused, with the least")
def test_tiny() -> str:
    raised(warm().isel(x=[3]).var4d.assimilate, "grid-too-small", variable="sst", dimension="x")
    raised(warm().isel(y=[3], x=[3]).var4d.assimilate, "grid-too-small", "grid-too-small", variable="sst")
    return raised(warm().isel(y=slice(0, 3)).var4d.assimilate, "grid-too-small", variable="sst", dimension="y")


def huge(side: int = 200_000, frames: int = 4) -> xr.Dataset:
    values = dask.array.zeros((frames, side, side), chunks=(1, 5000, 5000), dtype="float32")
    record = warm(frames)
    return xr.Dataset(
        {"sst": (("time", "y", "x"), values, record["sst"].attrs)},
        {
            "time": record["time"],
            "y": ("y", 0.0001 * np.arange(side), {"units": "degrees_north"}),
            "x": ("x", 0.0001 * np.arange(side), {"units": "degrees_east"}),
        },
    )


@fault(56, "a grid that is too large", "refused with its GB, before anything is computed")
def test_huge() -> str:
    return raised(huge().var4d.assimilate, "grid-too-large", variable="sst")


@fault(
    57,
    "no grid mapping",
    "x and y in metres are used as they are, and the attributes say that nothing checked them, with a warning where the file names a mapping that is not there; refused where mapping and coordinates contradict",
)
def test_grid_mapping() -> str:
    said = note(warm().var4d.assimilate(), "not checked against a map projection")
    record = warm()
    record["sst"].attrs["grid_mapping"] = "absent"
    with pytest.warns(InputWarning, match="not checked against a map projection.*'absent' is missing"):
        note(record.var4d.assimilate(), "the grid mapping 'absent' is missing")
    y, x = np.meshgrid(60 + 0.009 * np.arange(SIZE), 0.009 * np.arange(SIZE), indexing="ij")
    record = record.assign_coords(
        lat=(("y", "x"), y + 1e-4 * x, {"units": "degrees_north"}), lon=(("y", "x"), x, {"units": "degrees_east"})
    )
    mapping = {
        "grid_mapping_name": "polar_stereographic",
        "straight_vertical_longitude_from_pole": 0.0,
        "latitude_of_projection_origin": 90.0,
        "standard_parallel": 60.0,
        "earth_radius": 6371000.0,
    }
    record["crs"] = ((), 0, mapping)
    record["sst"].attrs["grid_mapping"] = "crs"
    raised(record.var4d.assimilate, "mapping-inconsistent", variable="sst")
    return said


@fault(
    58,
    "masks that change in time",
    "handled: land is what is land in every frame; nothing is observed there and nothing comes from there",
)
def test_masks_in_time() -> str:
    record = warm()
    wet = np.ones((4, SIZE, SIZE), "int8")
    wet[:, :6, :6], wet[2, 10:14, 10:14] = 0, 0
    record["sst"] = record["sst"].where(xr.DataArray(wet == 1, dims=("time", "y", "x")))
    record["wet"] = (("time", "y", "x"), wet, {"flag_values": np.array([0, 1], "int8"), "flag_meanings": "land sea"})
    result = record.var4d.assimilate("sst", land="wet")
    assert np.isnan(result["u"].values[..., :6, :6]).all()
    assert np.isfinite(result["u"].values[..., 10:14, 10:14]).all()
    assert np.isfinite(result["u"].values).sum() == 4 * (SIZE * SIZE - 36)
    return note(result, "36 of 576 points are land")
