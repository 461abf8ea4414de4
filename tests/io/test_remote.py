"""Files at URLs: as they are on the disk, and what is said where they cannot be had."""

from __future__ import annotations

import functools
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from tests.records import storm
from xvar.cli import application
from xvar.errors import InputError
from xvar.io.reading import open_files
from xvar.io.remote import fetch


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[xr.Dataset]:
    """Two halves of a record under the same name in two folders in memory."""
    system, record = fsspec.filesystem("memory"), storm()
    for folder, half in (("early", slice(0, 2)), ("late", slice(2, 4))):
        record.isel(time=half).to_netcdf(tmp_path / "radar.nc")
        system.pipe(f"/{folder}/radar.nc", (tmp_path / "radar.nc").read_bytes())
    yield record
    for folder in ("early", "late", "store.zarr"):
        if system.exists(f"/{folder}"):
            system.rm(f"/{folder}", recursive=True)


@pytest.mark.parametrize(
    "names",
    [
        ["memory://*/radar.nc"],
        ["simplecache::memory://*/radar.nc"],
        ["memory://late/radar.nc", "memory://early/radar.nc"],
    ],
)
def test_a_record_in_pieces(memory, names) -> None:
    with open_files(names) as opened:
        np.testing.assert_array_equal(opened["rain"], memory["rain"])


def test_a_file_of_this_machine_is_read_where_it_is(tmp_path) -> None:
    storm().to_netcdf(tmp_path / "a radar.nc")
    assert fetch(f"file://{tmp_path}/a radar.nc") == [tmp_path / "a radar.nc"]


def test_a_store_of_zarr_is_read_where_it_is(memory) -> None:
    zarr = pytest.importorskip("zarr")
    if int(zarr.__version__.split(".")[0]) < 3:
        memory.to_zarr("memory://store.zarr", consolidated=False)
    else:
        memory.to_zarr("memory://store.zarr", zarr_format=3, consolidated=False)
    with open_files(["memory://store.zarr"]) as opened:
        np.testing.assert_array_equal(opened["rain"], memory["rain"])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a folder with a record, on this machine."""
    pytest.importorskip("aiohttp")
    (tmp_path / "served").mkdir()
    storm().to_netcdf(tmp_path / "served" / "radar.nc")
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["radar.nc", "*.nc"])
def test_assimilate_from_a_server(served, name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(application, ["assimilate", f"{served}/{name}", "-o", "analysis.nc"])
    assert done.exit_code == 0, done.output
    storm().to_netcdf("radar.nc")
    with open_files(["radar.nc"]) as record, open_files(["analysis.nc"]) as analysis:
        np.testing.assert_array_equal(analysis["u"], record.var4d.assimilate()["u"])


def test_what_a_server_does_not_have(served) -> None:
    with pytest.raises(InputError, match=r"none\.nc.*check the address"):
        open_files([f"{served}/none.nc"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("memory://nothing/*.nc", "no file at"),
        ("memory://nothing/radar.nc", "nothing/radar.nc"),
        ("memory://nothing.zarr", "nothing.zarr"),
        ("nobody://knows/radar.nc", "nobody"),
    ],
)
def test_what_is_not_there(name, said, tmp_path) -> None:
    done = CliRunner().invoke(application, ["info", name])
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["s3://bucket/radar.nc", "simplecache::s3://bucket/radar_*.nc", "s3://bucket/a.zarr"])
def test_what_is_not_installed_is_named(name, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"Install s3fs.*pip install 'xvar\[remote\]'"):
        open_files([name])


def test_an_output_is_no_url(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    storm().to_netcdf("radar.nc")
    done = CliRunner().invoke(application, ["assimilate", "radar.nc", "-o", "s3://bucket/analysis.nc"])
    assert done.exit_code == 2
    assert "a place on this machine" in done.output
