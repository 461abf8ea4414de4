"""Fields of other files on the points of a record; arrays with units of their own; files that break when read."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.cf.places import places
from tests.faults.codes import raised
from tests.faults.images import rainy, warm
from tests.faults.table import note
from xvar.cf.axes import Axes
from xvar.cf.grid.coordinates import on_grid
from xvar.errors import Faults
from xvar.minimize import LBFGS

AXES = Axes("time", "y", "x")


def aligned(field: xr.DataArray) -> tuple[xr.DataArray | None, list[tuple[object, ...]]]:
    faults = Faults()
    found = on_grid(field, warm()["sst"], AXES, faults, "background sst")
    return found, places(faults)


def frame() -> xr.DataArray:
    return warm()["sst"].isel(time=0, drop=True)


def test_other_orders_names_and_units_are_the_same_points() -> None:
    km = {dim: (dim, frame()[dim].values / 1e3, {**frame()[dim].attrs, "units": "km"}) for dim in ("y", "x")}
    for field in (
        frame().transpose("x", "y"),
        frame().isel(y=slice(None, None, -1)),
        frame().expand_dims("level"),
        frame().assign_coords(km),
        frame().rename(y="south_north", x="west_east"),
        frame().drop_vars(["y", "x"]),
        frame().assign_coords(x=("x", [f"column {i}" for i in range(24)])),
    ):
        found, told = aligned(field)
        assert told == []
        assert found is not None
        np.testing.assert_array_equal(found.values, frame().values)


def test_units_that_the_array_carries() -> None:
    pint = pytest.importorskip("pint")
    registry = pint.UnitRegistry()
    record = rainy()
    attrs = {key: value for key, value in record["rain"].attrs.items() if key != "units"}
    quantity = registry.Quantity(record["rain"].values, "millimeter / hour")
    quantified = record.assign(rain=xr.DataArray(quantity, dims=record["rain"].dims, coords=record.coords, attrs=attrs))
    result = quantified.var4d.assimilate()
    np.testing.assert_array_equal(result["u"], record.var4d.assimilate()["u"])
    assert result["rain"].attrs["units"] == "millimeter / hour"
    assert quantified["rain"].data.units == registry.Unit("millimeter / hour")
    np.testing.assert_array_equal(quantified["rain"].var4d.assimilate()["u"], result["u"])


def test_a_data_array_with_the_name_of_its_coordinate() -> None:
    raised(warm()["sst"].rename("x").var4d.assimilate, "name-of-coordinate", variable="x")


def test_attributes_that_are_no_text() -> None:
    record = warm()
    record["sst"].attrs.update(standard_name=b"sea_surface_temperature", long_name=3, grid_mapping=[1])
    assert record.var4d.assimilate()["sst"].attrs["standard_name"] == "sea_surface_temperature"
    record["sst"].attrs["units"] = 1
    assert record.var4d.assimilate()["sst"].attrs["units"] == "1"


def test_values_that_break_when_they_are_read(tmp_path) -> None:
    noise = np.random.default_rng(0).random((4, 24, 24))
    record = warm().assign(sst=warm()["sst"].copy(data=15 + noise))
    record.to_netcdf(tmp_path / "warm.nc", encoding={"sst": {"zlib": True, "fletcher32": True}})
    content = bytearray((tmp_path / "warm.nc").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "warm.nc").write_bytes(content)
    with xr.open_dataset(tmp_path / "warm.nc") as opened:
        raised(opened.var4d.assimilate, "unreadable-values", variable="sst")


def test_reflectivity_that_is_none() -> None:
    record = rainy().rename(rain="DBZH")
    record["DBZH"] = (record["DBZH"] - 20).assign_attrs(units="dBZ")
    record["DBZH"][0, 0, 0] = 500.0
    with pytest.warns(UserWarning, match="beyond -130 to 130, the physical limits"):
        result = record.var4d.assimilate(minimizer=LBFGS(max_evaluations=300))
    note(result, "1 values beyond -130 to 130")


def test_what_is_at_the_tolerance_is_the_same_point() -> None:
    edge = frame().assign_coords(
        x=("x", frame()["x"].values + 2.0**-10, frame()["x"].attrs)
    )  # 1e-6 of 1 km and a bit less
    assert aligned(edge)[0] is not None


def test_a_level_of_one_value_leaves_no_coordinate_behind() -> None:
    found, _ = aligned(frame().expand_dims(depth=[5.0]))
    assert found is not None
    assert "depth" not in found.coords


@pytest.mark.parametrize(
    ("name", "attrs"),
    [("lon", {"units": "degrees"}), ("x", {"units": "degrees_east"}), ("x", {"standard_name": "longitude"})],
)
def test_longitudes_are_known_by_name_units_or_standard_name(name, attrs) -> None:
    axes = Axes("time", "y", name)
    record = warm()["sst"].rename(x=name) if name != "x" else warm()["sst"]
    record = record.assign_coords({name: (name, -0.1 + 0.01 * np.arange(24), attrs)})
    field = record.isel(time=0, drop=True)
    shifted = field.assign_coords({name: (name, field[name].values % 360, attrs)})
    faults = Faults()
    found = on_grid(shifted, record, axes, faults, "background sst")
    assert not len(faults)
    np.testing.assert_array_equal(found.values, field.values)


def line(values: object, dim: str = "x", **attrs: object) -> xr.DataArray:
    """A frame whose coordinate along a dimension is another."""
    return frame().assign_coords({dim: (dim, np.asarray(values), attrs)})


METRES = 1e3 * np.arange(24)
SST = "background sst"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (lambda: xr.concat([frame(), frame()], "member"), [("extra-dimension", SST, "member")]),
        (lambda: frame().expand_dims(a=2, b=3), [("extra-dimension", SST, "a"), ("extra-dimension", SST, "b")]),
        (lambda: frame().rename(x="a").drop_vars("a"), [("missing-dimension", SST)]),
        (lambda: frame().rename(x="a", y="b").drop_vars(["a", "b"]).expand_dims(c=3), [("missing-dimension", SST)]),
        (lambda: frame().isel(x=slice(3, None)), [("other-size", SST, "x")]),
        (lambda: frame().isel(x=slice(3, None), y=slice(2, None)), [("other-size", SST, dim) for dim in "yx"]),
        (lambda: line(METRES + 1e6, units="m"), [("other-points", SST, "x")]),
        (lambda: line(METRES / 1e3 - 23.5, units="km"), [("other-points", SST, "x")]),
        (lambda: line((METRES - 23e3).astype("f4"), units="m"), [("other-points", SST, "x")]),
        (lambda: line(np.where(METRES == 5e3, 5250, METRES), units="m"), [("other-points", SST, "x")]),
        (lambda: frame().assign_coords(x=METRES + 3, y=METRES + 5), [("other-points", SST, dim) for dim in "yx"]),
    ],
)  # fmt: skip
def test_other_points_are_refused(field, expected) -> None:
    assert aligned(field()) == (None, expected)


def test_differences_are_reported_in_metres_whatever_the_units() -> None:
    record = warm()["sst"].assign_coords(x=("x", np.arange(24.0), {"units": "km"}))
    faults = Faults()
    assert on_grid(line(METRES + 250, units="m"), record, AXES, faults, "mask") is None
    assert "250 m, 250 to 23250 m against 0 to 23000 m" in faults.first.found


@pytest.mark.parametrize(
    ("ours", "theirs", "shift", "same"),
    [
        ("f8", "f8", 0.9e-3, True),
        ("f8", "f8", 1.1e-3, False),
        ("f8", "f4", 0.9, True),
        ("f4", "f8", 0.9, True),
        ("f4", "f8", 1.1, False),
        ("i4", "f8", 1.1e-3, False),
        ("f8", "i4", 0.0, True),
    ],
)
def test_how_near_the_same_points_are(ours, theirs, shift, same) -> None:
    values = METRES - 11.5e3
    record = warm()["sst"].assign_coords(x=("x", values.astype(ours), {"units": "m"}))
    field = frame().assign_coords(x=("x", (values.astype(ours) + shift).astype(theirs), {"units": "m"}))
    faults = Faults()
    found = on_grid(field, record, AXES, faults, "mask")
    assert (found is not None) is same
    if found is not None:
        np.testing.assert_array_equal(found.values, field.values)


@pytest.mark.parametrize("order", [np.arange(24), np.arange(24)[::-1], np.random.default_rng(5).permutation(24)])
@pytest.mark.parametrize("kind", ["metres", "longitude"])
def test_whatever_the_order_of_points_each_is_found(order, kind) -> None:
    record = warm()["sst"].isel(time=0, drop=True)
    if kind == "longitude":  # across the seam of the field's own numbering
        record = record.assign_coords(x=("x", 170 + np.arange(24.0), {"units": "degrees_east"}))
    field = record.isel(x=order, y=order[::-1])
    if kind == "longitude":
        field = field.assign_coords(x=("x", (field["x"].values + 180) % 360 - 180, {"units": "degrees_east"}))
    for like in (record, record.isel(x=slice(None, None, -1)), record.isel(y=order)):
        faults = Faults()
        found = on_grid(field, like, AXES, faults, "mask")
        assert not len(faults)
        np.testing.assert_array_equal(found.values, like.values)
        assert found.dims == ("y", "x")


def test_what_is_no_longitude_is_not_turned() -> None:
    for name, attrs in (("x", {"units": "degrees"}), ("lo", {}), ("x", {"standard_name": "grid_longitude"})):
        record = warm()["sst"].rename(x=name).assign_coords({name: (name, np.arange(24.0), attrs)})
        field = record.isel(time=0, drop=True)
        turned = field.assign_coords({name: (name, field[name].values + 360, attrs)})
        faults = Faults()
        assert on_grid(turned, record, Axes("time", "y", name), faults, "mask") is None
        assert places(faults) == [("other-points", "mask", name)]
