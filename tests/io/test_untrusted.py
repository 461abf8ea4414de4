"""Hostile files are refused before anything of them is read; good files of all kinds are opened."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import xvar
from tests.faults.codes import codes
from tests.faults.images import rainy, warm
from tests.io.hostile import FILES, MARK, SECRET, gzipped_zeros, secret, zeros, zstd_zeros
from xvar.errors import InputError
from xvar.io import expansion, formats
from xvar.io.untrusted import check_untrusted

pytest.importorskip("zarr", minversion="3.0")
#: Bytes that opening a hostile file may take.
MEMORY = 200_000_000

WORKER = """
import json, sys
import xvar
from xvar.errors import InputError
import xarray, netCDF4, zarr, h5py
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
for line in sys.stdin:
    open("/proc/self/clear_refs", "w").write("5")
    before = peak()
    try:
        with xvar.open_untrusted(line.strip()) as opened:
            found = b"".join(variable.values.tobytes() for variable in opened.variables.values())
        told = {"codes": None, "values": found.decode("latin1")}
    except InputError as error:
        told = {"codes": [fault.code for fault in error.faults], "values": str(error)}
    print(json.dumps({**told, "memory": peak() - before}), flush=True)
"""


@pytest.fixture(scope="module")
def tried():
    """A process that opens and reads files."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=pathlib.Path(__file__).parents[2],
    ) as process:

        def open_there(path: pathlib.Path):
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield open_there
        process.stdin.close()


def test_there_are_enough() -> None:
    assert len(FILES) >= 60
    assert len({one.name for one in FILES}) == len(FILES)


@pytest.mark.parametrize("one", FILES, ids=lambda one: one.name)
def test_hostile(tmp_path, tried, one) -> None:
    secret(tmp_path)
    path = one.make(tmp_path)
    told = tried(path)
    assert told["codes"] == (None if one.code is None else [one.code]), told["values"][:500]
    assert SECRET.decode() not in told["values"]
    assert not (tmp_path / MARK).exists()
    assert told["memory"] < MEMORY


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_64BIT", "NETCDF3_CLASSIC"])
def test_good_netcdf(tmp_path, kind) -> None:
    rainy().to_netcdf(tmp_path / "good.nc", format=kind)
    with xvar.open_untrusted(tmp_path / "good.nc") as opened:
        xr.testing.assert_equal(opened.load(), rainy())


@pytest.mark.parametrize(
    "filters",
    [
        {"zlib": True},
        {"zlib": True, "fletcher32": True, "complevel": 9},
        {"compression": "szip"},
        {"compression": "zstd"},
    ],
    ids=str,
)
def test_good_filters(tmp_path, filters) -> None:
    record = warm().assign(constant=(("y", "x"), np.zeros((24, 24), "f4")))
    encoding = {name: {**filters, "chunksizes": (4, 8, 8)[-record[name].ndim :]} for name in record.data_vars}
    try:
        record.to_netcdf(tmp_path / "good.nc", encoding=encoding)
    except (RuntimeError, ValueError) as error:
        pytest.skip(f"not in this build of netCDF: {error}")
    with xvar.open_untrusted(tmp_path / "good.nc") as opened:
        xr.testing.assert_equal(opened.load(), record)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("codec", ["default", "gzip", "blosc", "shards"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_good_zarr(tmp_path, zarr_format, consolidated, codec) -> None:
    import numcodecs
    import zarr

    encoding: dict[str, object] = {"chunks": (1, 8, 8)}
    if codec == "shards":
        if zarr_format == 2:
            pytest.skip("shards are of format 3")
        encoding["shards"] = (4, 16, 16)
    elif codec != "default" and zarr_format == 2:
        encoding["compressors"] = {"gzip": numcodecs.GZip(5), "blosc": numcodecs.Blosc("zstd")}[codec]
    elif codec != "default":
        encoding["compressors"] = {"gzip": zarr.codecs.GzipCodec(), "blosc": zarr.codecs.BloscCodec()}[codec]
    record = warm().assign(constant=(("time", "y", "x"), np.zeros((4, 24, 24), "f4")))
    record.to_zarr(
        tmp_path / "good.zarr",
        zarr_format=zarr_format,
        consolidated=consolidated,
        encoding=dict.fromkeys(record.data_vars, encoding),
    )
    with xvar.open_untrusted(tmp_path / "good.zarr") as opened:
        xr.testing.assert_equal(opened.load(), record)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_large_file_beside_the_chunks_is_none_of_them(tmp_path, zarr_format) -> None:
    """Such as the journal of a run, which zarr does not read."""
    record = warm()
    record.to_zarr(tmp_path / "good.zarr", zarr_format=zarr_format, encoding={"sst": {"compressors": None}})
    (tmp_path / "good.zarr" / "sst" / "xvar.journal").write_bytes(bytes(1_000_000))
    with xvar.open_untrusted(tmp_path / "good.zarr") as opened:
        xr.testing.assert_equal(opened.load(), record)


def test_real_files(shared_data) -> None:
    for path in sorted(shared_data.rglob("*")):
        if path.suffix in (".nc", ".h5"):
            assert check_untrusted(path)["engine"] is xr.backends.NetCDF4BackendEntrypoint, path


def test_a_grib_file_is_read_without_its_index_and_a_geotiff_by_one_driver(tmp_path) -> None:
    """An index beside a GRIB file is a pickle; other drivers of GDAL read other files."""
    pytest.importorskip("cfgrib")
    pytest.importorskip("rioxarray")
    (tmp_path / "rain.grib2").write_bytes(b"GRIB" + bytes(99))
    (tmp_path / "rain.tif").write_bytes(b"II*\0" + bytes(99))
    grib, geotiff = (check_untrusted(tmp_path / name) for name in ("rain.grib2", "rain.tif"))
    assert grib["engine"].__module__ == "cfgrib.xarray_plugin"
    assert grib["indexpath"] == ""
    assert geotiff["engine"].__module__ == "rioxarray.xarray_plugin"
    assert geotiff["open_kwargs"] == {"driver": "GTiff"}


def test_one_file_may_have_one_format(tmp_path) -> None:
    rainy().to_netcdf(tmp_path / "classic.nc", format="NETCDF3_CLASSIC")
    content = bytearray((tmp_path / "classic.nc").read_bytes())
    content[1024:1032] = formats.HDF5
    (tmp_path / "both.nc").write_bytes(content)
    with pytest.raises(InputError) as error:
        check_untrusted(tmp_path / "both.nc")
    assert codes(error.value) == ["unknown-format"]


def test_sizes_found_are_those_of_the_decoders() -> None:
    numcodecs = pytest.importorskip("numcodecs")
    data = np.random.default_rng(0).integers(0, 9, 1_000_000, "u1").tobytes()
    for name, codec in (
        ("zstd", numcodecs.Zstd(3)),
        ("zlib", numcodecs.Zlib()),
        ("gzip", numcodecs.GZip()),
        ("blosc", numcodecs.Blosc("zstd")),
        ("lz4", numcodecs.LZ4()),
    ):
        encoded = memoryview(bytes(codec.encode(data)))
        assert expansion._SIZES[name](encoded, 10**7) == len(data), name
        for end in range(0, len(encoded), len(encoded) // 50):  # of what is cut no more is said, and nothing raised
            assert expansion._SIZES[name](encoded[:end], 10**7) <= len(data)
    for name, content in (("zlib", zeros(1 << 24)), ("gzip", gzipped_zeros(1 << 24)), ("zstd", zstd_zeros(1 << 24))):
        assert expansion._SIZES[name](memoryview(content), 10**9) == 1 << 24
