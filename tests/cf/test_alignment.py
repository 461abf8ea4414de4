"""Fields of other files on the points of a record; arrays with units of their own; files that break when read."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.faults.codes import raised
from tests.faults.images import rainy, warm
from tests.faults.table import note
from xvar.cf.alignment import on_grid
from xvar.cf.axes import Axes
from xvar.errors import Faults, InputError

AXES = Axes("time", "y", "x")


def aligned(field: xr.DataArray) -> tuple[xr.DataArray | None, str]:
    faults = Faults()
    found = on_grid(field, warm()["sst"], AXES, faults, "background sst")
    return found, str(faults.first or "")


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
        found, text = aligned(field)
        assert text == ""
        assert found is not None
        np.testing.assert_array_equal(found.values, frame().values)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (lambda: xr.concat([frame(), frame()], "member"), ["'member' of size 2", "isel(member=0)"]),
        (lambda: frame().rename(x="a").drop_vars("a"), ["without 'x'", "rename"]),
        (lambda: frame().isel(y=slice(3, None)), ["size 21", "size 24"]),
        (lambda: frame().assign_coords(x=frame()["x"] + 1e6), ["do not overlap", "same region"]),
        (lambda: frame().assign_coords(x=frame()["x"] + 3), ["up to", "interp_like"]),
    ],
)
def test_other_points_are_refused(field, words) -> None:
    found, text = aligned(field())
    assert found is None
    for word in words:
        assert word in text


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
        result = record.var4d.assimilate()
    note(result, "1 values beyond -130 to 130")


def test_the_message_has_lengths_in_metres_and_angles_in_their_own_units() -> None:
    shifted = frame().assign_coords(x=("x", frame()["x"].values + 500.0, frame()["x"].attrs))
    found, text = aligned(shifted)
    assert found is None
    assert "found other points along 'x': they differ by up to 500 m, 500 to 23500 m against 0 to 23000 m" in text
    assert "of their spacing (1000 m)" in text


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
NAMED = "variable 'background sst': found dimensions "
PLACE = "variable 'background sst', dimension 'x': found "
INTERPOLATE = "fix: interpolate it onto the grid of the record, field.interp_like(record)"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (lambda: xr.concat([frame(), frame()], "member"),
         ("variable 'background sst', dimension 'member': found an extra dimension 'member' of size 2; expected "
         "dimensions (y, x); fix: choose one, isel(member=0)")),
        (lambda: frame().rename(x="a").drop_vars("a"),
         (NAMED + "(y, a), without 'x'; expected dimensions (y, x); fix: rename its "
         "dimensions, or give their coordinates attrs['axis'] = 'Y' and 'X'")),
        (lambda: frame().rename(x="a", y="b").drop_vars(["a", "b"]).expand_dims(c=3),
         (NAMED + "(c, b, a), without 'y' and 'x'; expected dimensions (y, x); fix: "
         "rename its dimensions, or give their coordinates attrs['axis'] = 'Y' and 'X'")),
        (lambda: frame().isel(x=slice(3, None)),
         PLACE + f"size 21 along 'x'; expected size 24, that of 'sst'; {INTERPOLATE}"),
        (lambda: line(METRES + 1e6, units="m"),
         PLACE + "other points along 'x': 1e+06 to 1.023e+06 m against 0 to 23000 m, which do not overlap; expected "
         "the points of 'sst', to 1e-06 of their spacing (1000 m); fix: choose the same region"),
        (lambda: line(METRES / 1e3 - 23.5, units="km"),
         PLACE + "other points along 'x': -23500 to -500 m against 0 to 23000 m, which do not overlap; expected "
         "the points of 'sst', to 1e-06 of their spacing (1000 m); fix: choose the same region"),
        (lambda: line((METRES - 23e3).astype("f4"), units="m"),
         PLACE + "other points along 'x': they differ by up to 23000 m, -23000 to 0 m against 0 to 23000 m; expected "
         f"the points of 'sst', to 0.001 of their spacing (1000 m); {INTERPOLATE}"),
        (lambda: line(np.where(METRES == 5e3, 5250, METRES), units="m"),
         PLACE + "other points along 'x': they differ by up to 250 m, 0 to 23000 m against 0 to 23000 m; expected "
         f"the points of 'sst', to 1e-06 of their spacing (1000 m); {INTERPOLATE}"),
    ],
)  # fmt: skip
def test_other_points_are_refused_word_by_word(field, text) -> None:
    found, told = aligned(field())
    assert (found, told) == (None, text)


def test_every_dimension_that_differs_is_named() -> None:
    for field, words in (
        (frame().isel(x=slice(3, None), y=slice(2, None)), ["size 22 along 'y'", "size 21 along 'x'"]),
        (frame().assign_coords(x=METRES + 3, y=METRES + 5), ["along 'y': they differ by up to 5", "by up to 3"]),
        (frame().expand_dims(a=2, b=3), ["'a' of size 2", "'b' of size 3"]),
    ):
        faults = Faults()
        assert on_grid(field, warm()["sst"], AXES, faults, "mask") is None
        with pytest.raises(InputError) as caught:
            faults.raise_if_any()
        assert len(caught.value.faults) == 2
        for problem, word in zip(caught.value.faults, words, strict=True):
            assert problem.variable == "mask"
            assert word in problem.found


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
        units = f" {attrs['units']}" if "units" in attrs else ""
        assert f"360 to 383{units} against 0 to 23{units}, which do not overlap" in str(faults.first)
        assert f"of their spacing (1{units})" in str(faults.first)


def test_lengths_are_told_in_metres_whatever_the_unit_of_the_record() -> None:
    record = warm()["sst"].assign_coords(x=("x", np.arange(24.0), {"units": "km"}))
    faults = Faults()
    assert on_grid(line(METRES + 250, units="m"), record, AXES, faults, "mask") is None
    assert "they differ by up to 250 m, 250 to 23250 m against 0 to 23000 m" in str(faults.first)
    assert "to 1e-06 of their spacing (1000 m)" in str(faults.first)
