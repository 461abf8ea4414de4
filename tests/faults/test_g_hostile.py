"""G. Hostile input."""

from __future__ import annotations

import ast
import json
import pathlib

import netCDF4
import numpy as np
import pytest
import xarray as xr

import xvar
from tests.faults.codes import raised
from tests.faults.images import warm
from tests.faults.shell import refused_by_shell, shell
from tests.faults.table import fault

PACKAGE = pathlib.Path(xvar.__file__).parent


def calls() -> set[str]:
    """Full names of whatever the package calls."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found.add(ast.unparse(node.func))
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                found.update(alias.name for alias in node.names)
                found.add(getattr(node, "module", None) or "")
    return found


@fault(
    87,
    "pickles in weights",
    "no such door: a model comes as an object of the caller's own process; a checkpoint of `xvar.learn` is arrays and JSON",
)
def test_no_weights_are_loaded() -> str:
    assert not {"torch.load", "pickle", "pickle.load", "pickle.loads", "joblib", "dill", "shelve", "marshal"} & calls()
    assert not [name for name in calls() if name.endswith(("cloudpickle.load", "cloudpickle.loads"))]
    return "nothing in xvar calls torch.load or pickle.load"


@fault(
    88,
    "weights with wrong keys or shapes",
    "no such door; a model whose state has other keys or shapes is named by `xvar.check.dynamics`",
)
def test_no_keys_of_weights() -> str:
    import torch

    from xvar import check

    state = {"sst": torch.ones(2, 1, 6, 6, dtype=torch.float64)}
    report = check.dynamics(lambda state, seconds: {"temperature": state["sst"]}, state)
    (row,) = [row for row in report.rows if not row.passed]
    assert "sst" in row.message
    assert "temperature" in row.message
    return row.message


@fault(89, "templates of output names", "no such door: an output is one path, taken as it is")
def test_no_templates(tmp_path) -> str:
    assert not [
        name
        for name in calls()
        if name.endswith(("string.Template", "jinja2", "eval", "exec")) and "executor" not in name
    ]
    warm().to_netcdf(tmp_path / "warm.nc")
    code, _ = shell("assimilate", tmp_path / "warm.nc", "-o", tmp_path / "{time.__class__}.nc")
    assert code == 0
    assert (tmp_path / "{time.__class__}.nc").exists()
    return "-o '{time.__class__}.nc' writes a file of that name"


@fault(90, "YAML with tags or aliases", "no such door: xvar reads no YAML")
def test_no_yaml() -> str:
    assert not [name for name in calls() if "yaml" in name.lower()]
    return "nothing in xvar imports a reader of YAML"


@fault(
    91,
    "links out of an HDF5 file",
    "`xvar.open_untrusted` and the command line refuse external links, virtual datasets and data in other files, with their place",
)
def test_links(tmp_path) -> str:
    h5py = pytest.importorskip("h5py")
    warm().to_netcdf(tmp_path / "good.nc")
    with xvar.open_untrusted(tmp_path / "good.nc") as opened:
        assert (opened.var4d.assimilate()["status"] == 1).all()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.arange(4.0)
    with h5py.File(tmp_path / "virtual.nc", "w") as file:
        layout = h5py.VirtualLayout(shape=(4,), dtype="f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", shape=(4,))
        file.create_virtual_dataset("deep/copy", layout)
    with h5py.File(tmp_path / "raw.nc", "w") as file:
        file.create_dataset("copy", (4,), "f8", external=[(str(tmp_path / "other.h5"), 0, 32)])
    with h5py.File(tmp_path / "link.nc", "w") as file:
        file["deep/link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
    raised(
        lambda: xvar.open_untrusted(tmp_path / "virtual.nc"), "virtual-dataset", names=("'/deep/copy'", "virtual.nc")
    )
    raised(lambda: xvar.open_untrusted(tmp_path / "raw.nc"), "external-storage", names="'/copy'")
    pytest.importorskip("zarr")
    warm().to_zarr(tmp_path / "store.zarr", consolidated=False)
    with xvar.open_untrusted(tmp_path / "store.zarr") as opened:
        assert opened.sizes["y"] == 24
    (tmp_path / "store.zarr" / "way_out").symlink_to(tmp_path / "other.h5")
    raised(lambda: xvar.open_untrusted(tmp_path / "store.zarr"), "symbolic-link", names="'/way_out'")
    return raised(lambda: xvar.open_untrusted(tmp_path / "link.nc"), "external-link", names=("'/deep/link'", "link.nc"))


@fault(92, "a small file of enormous shape", "refused by its size in GB, before it is read")
def test_shape_bomb(tmp_path) -> str:
    pytest.importorskip("h5py")
    side = 400_000
    with netCDF4.Dataset(tmp_path / "bomb.nc", "w") as file:
        for name, size in (("time", 4), ("y", side), ("x", side)):
            file.createDimension(name, size)
        time = file.createVariable("time", "i8", ("time",))
        time[:], time.units = [0, 60, 120, 180], "seconds since 2020-01-01"
        file.createVariable("rain", "f4", ("time", "y", "x"), zlib=True, chunksizes=(1, 1000, 1000)).units = "mm h-1"
    assert (tmp_path / "bomb.nc").stat().st_size < 100_000
    raised(lambda: xvar.open_untrusted(tmp_path / "bomb.nc"), "larger-than-memory", variable="rain", names="bomb.nc")
    with xr.open_dataset(tmp_path / "bomb.nc") as opened:
        raised(lambda: opened.var4d.assimilate(dx=1000.0, dy=1000.0), "grid-too-large", variable="rain")
    long = tmp_path / "long.nc"
    with netCDF4.Dataset(long, "w") as file:
        for name, size in (("time", 2_000_000), ("y", 400), ("x", 400)):
            file.createDimension(name, size)
        time = file.createVariable("time", "i8", ("time",))
        time[:], time.units = np.arange(2_000_000), "seconds since 2020-01-01"
        file.createVariable("rain", "f4", ("time", "y", "x"), zlib=True, chunksizes=(1, 400, 400)).units = "mm h-1"
    with xr.open_dataset(long) as opened:
        raised(lambda: opened.var4d.assimilate(dx=1e3, dy=1e3), "record-too-large", variable="rain")
    words = ("assimilate", tmp_path / "bomb.nc", "-o", tmp_path / "out.nc", "--dx", 1000, "--dy", 1000)
    return refused_by_shell(*words, code="grid-too-large")


@fault(93, "a Zarr store with a codec that nobody has", "refused, with the store")
def test_unknown_codec(tmp_path) -> str:
    pytest.importorskip("zarr")
    warm().to_zarr(tmp_path / "store.zarr", zarr_format=2, consolidated=False)
    described = tmp_path / "store.zarr" / "sst" / ".zarray"
    text = json.loads(described.read_text())
    described.write_text(json.dumps({**text, "compressor": {"id": "nobody_has_this"}}))
    words = ("assimilate", tmp_path / "store.zarr", "-o", tmp_path / "out.nc")
    return refused_by_shell(*words, code="unknown-codec", names=("store.zarr", "nobody_has_this"))


@fault(94, "control characters in attributes", "escaped in messages and in history")
def test_control_characters() -> str:
    evil = "a\x1b[2J\x07b"
    record = warm()
    record["sst"].attrs.update(standard_name=evil, comment=evil)
    record.attrs[evil] = "global"
    result = record.var4d.assimilate()
    for variable in (result, *result.variables.values()):
        for key, value in variable.attrs.items():
            assert not any(ord(c) < 32 and c != "\n" for c in f"{key}{value}")
    assert "\\x1b" in result.attrs["history"]
    record["sst"].attrs["units"] = evil
    text = raised(record.var4d.assimilate, "units-unreadable", variable="sst")
    assert "\x1b" not in text
    assert "\n" not in raised(
        lambda: warm().var4d.assimilate("rain\nfalls"), "unknown-variable", variable="rain\nfalls"
    )
    return text
