"""Hostile files, as the code that makes them: each reaches for another file, runs code, or expands beyond bounds."""

from __future__ import annotations

import functools
import gzip
import json
import os
import pathlib
import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import h5py
import numpy as np

#: Content of a file beside the hostile ones that none of them may show.
SECRET = b"the secret of another file: 0123456789abcdef 0123456789abcdef"
MARK = "code-was-run"
#: Bytes that bombs come to.
BOMB = 600_000_000


@dataclass(frozen=True)
class Hostile:
    """A hostile file: `make(folder)` returns its path; `code` is that of the fault, None if opening it is harmless."""

    name: str
    make: Callable[[pathlib.Path], pathlib.Path]
    code: str | None


FILES: list[Hostile] = []


def hostile(name: str, code: str | None):
    def register(make: Callable[[pathlib.Path], pathlib.Path]):
        FILES.append(Hostile(name, make, code))
        return make

    return register


def secret(folder: pathlib.Path) -> pathlib.Path:
    path = folder / "secret.bin"
    if not path.exists():
        path.write_bytes(SECRET.ljust(64, b"."))
        with h5py.File(folder / "secret.h5", "w") as file:
            file["secret"] = np.frombuffer(path.read_bytes(), "u1")
    return path


class Runs:
    """Leave a mark when unpickled."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / MARK),)


# --- HDF5 -----------------------------------------------------------------------------------------------------------


def _external_link(file: h5py.File, folder: pathlib.Path) -> None:
    file["values"] = h5py.ExternalLink(str(folder / "secret.h5"), "/secret")


def _deep_link(file: h5py.File, folder: pathlib.Path) -> None:
    file["a/b/c/values"] = h5py.ExternalLink(str(folder / "secret.h5"), "/secret")
    file["values"] = h5py.SoftLink("/a/b/c/values")


def _virtual(file: h5py.File, folder: pathlib.Path) -> None:
    layout = h5py.VirtualLayout(shape=(64,), dtype="u1")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "secret", shape=(64,))
    file.create_virtual_dataset("values", layout)


def _external_storage(file: h5py.File, folder: pathlib.Path) -> None:
    file.create_dataset("deep/values", (64,), "u1", external=[(str(folder / "secret.bin"), 0, 64)])


def _beside_good_data(file: h5py.File, folder: pathlib.Path) -> None:
    file["first"] = np.arange(4.0)
    _external_storage(file, folder)


def _hard_link_to_external(file: h5py.File, folder: pathlib.Path) -> None:
    _external_storage(file, folder)
    file["values"] = file["deep/values"]


REACHING = {
    "external-link": _external_link,
    "deep-external-link": _deep_link,
    "virtual-dataset": _virtual,
    "external-storage": _external_storage,
    "external-storage-beside-good-data": _beside_good_data,
    "external-storage-by-hard-link": _hard_link_to_external,
}


#: Stands for blosc while a file is made: the plugin itself, where HDF5 finds one, would be asked.
UNKNOWN = 65001


def _filter(number: int) -> bytes:
    """Begin of the message of an optional filter."""
    return struct.pack("<HHH", number, 0, 1)


def _hdf5(fill, name: str, begin: bytes = b"", block: int = 0):
    def make(folder: pathlib.Path) -> pathlib.Path:
        secret(folder)
        path = folder / f"{name}.nc"
        with h5py.File(path, "w", userblock_size=block) as file:
            fill(file, folder)
        content = bytearray(path.read_bytes().replace(_filter(UNKNOWN), _filter(32001)))
        content[: len(begin)] = begin
        path.write_bytes(content)
        return path

    return make


for label, fill in REACHING.items():
    kind = "external-link" if "link" in label and "hard" not in label else label.partition("-storage")[0] + "-storage"
    kind = "virtual-dataset" if "virtual" in label else kind
    hostile(f"hdf5-{label}", kind)(_hdf5(fill, label))
    for block in (512, 2048, 65536):
        hostile(f"hdf5-{label}-at-{block}", kind)(_hdf5(fill, f"{label}-{block}", b"any text", block))
    hostile(f"hdf5-{label}-as-CDF", kind)(_hdf5(fill, f"{label}-cdf", b"CDF of no version", 512))
    hostile(f"hdf5-{label}-as-classic", "unknown-format")(_hdf5(fill, f"{label}-classic", b"CDF\x01" + bytes(28), 512))


@hostile("hdf5-heap-without-end", "broken-file")
def _heap(folder: pathlib.Path) -> pathlib.Path:
    """An object of no length in a heap: libhdf5 goes from it to itself."""
    path = _hdf5(lambda file, _: file.attrs.create("text", ["some text", "more"]), "heap")(folder)
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 16 : heap + 32] = bytes(16)
    path.write_bytes(content)
    return path


def _filtered(*filters: tuple[int, tuple[int, ...]], chunk: bytes = b"", shape=(4096,)):
    """A dataset of float64 with filters of any number, its first chunk as stored."""

    def fill(file: h5py.File, folder: pathlib.Path) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(tuple(min(size, 4096) for size in shape))
        for number, values in filters:
            plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL, values)
        space = h5py.h5s.create_simple(shape)
        dataset = h5py.h5d.create(file.id, b"values", h5py.h5t.IEEE_F64LE, space, plist)
        if chunk:
            dataset.write_direct_chunk((0,) * len(shape), chunk)

    return fill


@functools.cache
def zeros(count: int) -> bytes:
    """Zeros by deflate, made without holding them."""
    pack, piece = zlib.compressobj(9), bytes(1 << 20)
    return b"".join(pack.compress(piece) for _ in range(count >> 20)) + pack.flush()


@functools.cache
def gzipped_zeros(count: int) -> bytes:
    pack, piece = zlib.compressobj(9, wbits=31), bytes(1 << 20)
    return b"".join(pack.compress(piece) for _ in range(count >> 20)) + pack.flush()


def zstd_zeros(count: int, *, states_size: bool = False) -> bytes:
    """Zeros by Zstandard: a block of one repeated byte for each 128 KiB."""
    block = 131072
    blocks = [struct.pack("<I", (block << 3) | 2)[:3] + b"\0" for _ in range(count // block)]
    blocks[-1] = struct.pack("<I", (block << 3) | 2 | 1)[:3] + b"\0"
    size = count // block * block
    if states_size:
        return struct.pack("<IB", 0xFD2FB528, 0b11100000) + struct.pack("<Q", size) + b"".join(blocks)
    return struct.pack("<IBB", 0xFD2FB528, 0, 0b01010000) + b"".join(blocks)


def blosc_of(count: int) -> bytes:
    return struct.pack("<BBBBIII", 2, 1, 0x33, 1, count, count, 32) + bytes(16)


for label, fill, code in (
    ("bzip2", _filtered((307, (9,))), "unknown-filter"),
    ("any-plugin", _filtered((32008, ())), "unknown-filter"),
    ("private-filter", _filtered((65000, ())), "unknown-filter"),
    ("deflate-twice", _filtered((1, (9,)), (1, (9,))), "unknown-filter"),
    ("deflate-shuffled", _filtered((1, (9,)), (2, (8,))), "unknown-filter"),
    ("deflate-bomb", _filtered((1, (9,)), chunk=zeros(BOMB)), "expanding-chunk"),
    ("shuffled-deflate-bomb", _filtered((2, (8,)), (1, (9,)), chunk=zeros(BOMB)), "expanding-chunk"),
    ("zstd-bomb", _filtered((32015, (3,)), chunk=zstd_zeros(BOMB)), "expanding-chunk"),
    ("zstd-stated-bomb", _filtered((32015, (3,)), chunk=zstd_zeros(BOMB, states_size=True)), "expanding-chunk"),
    ("blosc-bomb", _filtered((UNKNOWN, (0, 0, 0, 0, 5, 1, 1)), chunk=blosc_of(BOMB)), "expanding-chunk"),
    ("szip-bomb", _filtered((4, (141, 32)), chunk=struct.pack("<I", BOMB) + bytes(32)), "expanding-chunk"),
    ("lzf-bomb", _filtered((32000, ()), chunk=os.urandom(BOMB // 100)), "expanding-chunk"),
    ("endless-coordinate", _filtered(shape=(10**13,)), "larger-than-memory"),
):
    hostile(f"hdf5-{label}", code)(_hdf5(fill, label))


@hostile("hdf5-strings-without-end", "too-many-strings")
def _strings(folder: pathlib.Path) -> pathlib.Path:
    with h5py.File(folder / "strings.nc", "w") as file:
        file.create_dataset("names", (10**7,), h5py.string_dtype(), chunks=(1000,))
    return folder / "strings.nc"


@hostile("hdf5-groups-in-a-circle", "repeated-group")
def _circle(folder: pathlib.Path) -> pathlib.Path:
    with h5py.File(folder / "circle.nc", "w") as file:
        file.create_group("a/b")
        file["a/b/up"] = file["a"]
    return folder / "circle.nc"


@hostile("hdf5-root-in-itself", "repeated-group")
def _root(folder: pathlib.Path) -> pathlib.Path:
    with h5py.File(folder / "root.nc", "w") as file:
        file["again"] = file["/"]
    return folder / "root.nc"


@hostile("hdf5-cut", "broken-file")
def _cut(folder: pathlib.Path) -> pathlib.Path:
    path = _hdf5(_beside_good_data, "cut")(folder)
    path.write_bytes(path.read_bytes()[:900])
    return path


# --- Zarr 2 ---------------------------------------------------------------------------------------------------------

ARRAY_2 = {
    "zarr_format": 2,
    "shape": [64],
    "chunks": [64],
    "dtype": "<f8",
    "compressor": None,
    "filters": None,
    "fill_value": 0,
    "order": "C",
}


def zarr_2(name: str, chunk: bytes | None = bytes(512), *, consolidated: dict | None = None, **changed: object):
    """A store with the array "values" along the dimension x, its metadata changed."""

    def make(folder: pathlib.Path) -> pathlib.Path:
        store = folder / f"{name}.zarr"
        (store / "values").mkdir(parents=True)
        (store / ".zgroup").write_text('{"zarr_format": 2}')
        meta = {**ARRAY_2, **changed}
        (store / "values" / ".zarray").write_text(json.dumps(meta))
        (store / "values" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["x"]}')
        if chunk is not None:
            (store / "values" / "0").write_bytes(chunk)
        if consolidated is not None:
            whole = {".zgroup": {"zarr_format": 2}, "values/.zattrs": {"_ARRAY_DIMENSIONS": ["x"]}, **consolidated}
            (store / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": whole}))
        return store

    return make


def _pickled(name: str, **changed: object):
    def make(folder: pathlib.Path) -> pathlib.Path:
        return zarr_2(name, pickle.dumps(Runs(folder)), **changed)(folder)

    return make


PICKLE = {"id": "pickle", "protocol": 5}
for label, make, code in (
    ("pickle-filter", _pickled("filter", filters=[PICKLE], dtype="|O"), "unsafe-type"),
    ("pickle-filter-of-numbers", _pickled("numbers", filters=[PICKLE]), "unknown-codec"),
    ("pickle-compressor", _pickled("compressor", compressor=PICKLE), "unknown-codec"),
    (
        "pickle-consolidated",
        _pickled("consolidated", consolidated={"values/.zarray": {**ARRAY_2, "filters": [PICKLE]}}),
        "unknown-codec",
    ),
    ("json-objects", zarr_2("json", dtype="|O", filters=[{"id": "json2"}]), "unsafe-type"),
    ("msgpack", zarr_2("msgpack", filters=[{"id": "msgpack2"}]), "unknown-codec"),
    ("objects-in-a-record", zarr_2("record", dtype=[["a", "<f8"], ["b", "|O"]]), "unsafe-type"),
    ("objects-by-comma", zarr_2("comma", dtype="f8,O"), "unsafe-type"),
    ("objects-by-filter", zarr_2("delta", filters=[{"id": "delta", "dtype": "|O"}]), "unsafe-type"),
    ("any-codec", zarr_2("any", compressor={"id": "nobody_has_this"}), "unknown-codec"),
    ("gzip-twice", zarr_2("twice", filters=[{"id": "gzip"}], compressor={"id": "gzip"}), "unknown-codec"),
    (
        "gzip-bomb",
        zarr_2("gzip", gzipped_zeros(BOMB), compressor={"id": "gzip", "level": 1}),
        "expanding-chunk",
    ),
    ("zlib-bomb", zarr_2("zlib", zeros(BOMB), compressor={"id": "zlib", "level": 1}), "expanding-chunk"),
    ("zstd-bomb", zarr_2("zstd", zstd_zeros(BOMB), compressor={"id": "zstd", "level": 1}), "expanding-chunk"),
    (
        "blosc-bomb",
        zarr_2("blosc", blosc_of(BOMB), compressor={"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}),
        "expanding-chunk",
    ),
    (
        "lz4-bomb",
        zarr_2("lz4", struct.pack("<I", BOMB) + bytes(9), compressor={"id": "lz4"}),
        "expanding-chunk",
    ),
    (
        "path-out-of-the-store",
        zarr_2("path", consolidated={"../secret/.zarray": ARRAY_2}),
        "broken-file",
    ),
    ("separator-out-of-the-store", zarr_2("separator", dimension_separator="/../"), "broken-file"),
    ("endless-coordinate", zarr_2("endless", None, shape=[10**13], chunks=[1000]), "larger-than-memory"),
    ("endless-strings", zarr_2("wide", None, dtype="|S99999999"), "unsafe-type"),
    ("negative-shape", zarr_2("negative", shape=[-64]), "broken-file"),
    ("shape-that-is-none", zarr_2("none", shape="all"), "broken-file"),
):
    hostile(f"zarr2-{label}", code)(make)


@hostile("zarr2-deep-json", "broken-file")
def _deep_json(folder: pathlib.Path) -> pathlib.Path:
    store = zarr_2("deep")(folder)
    (store / "values" / ".zarray").write_text('{"shape": ' + "[" * 200_000 + "]" * 200_000 + "}")
    return store


@hostile("zarr2-linked-chunk", "symbolic-link")
def _linked_chunk(folder: pathlib.Path) -> pathlib.Path:
    store = zarr_2("linked", None, dtype="|u1")(folder)
    (store / "values" / "0").symlink_to(secret(folder))
    return store


@hostile("zarr2-linked-folder", "symbolic-link")
def _linked_folder(folder: pathlib.Path) -> pathlib.Path:
    store = zarr_2("folders")(folder)
    (store / "more").symlink_to(store / "values")
    return store


@hostile("zarr2-pipe", "broken-file")
def _pipe(folder: pathlib.Path) -> pathlib.Path:
    store = zarr_2("pipe", None)(folder)
    os.mkfifo(store / "values" / "0")
    return store


# --- Zarr 3 ---------------------------------------------------------------------------------------------------------

BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
ARRAY_3 = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [64],
    "data_type": "float64",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [64]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": 0,
    "codecs": [BYTES],
    "attributes": {},
    "dimension_names": ["x"],
}


def zarr_3(name: str, chunk: bytes | None = bytes(512), *, consolidated: dict | None = None, **changed: object):
    def make(folder: pathlib.Path) -> pathlib.Path:
        store = folder / f"{name}.zarr"
        (store / "values" / "c").mkdir(parents=True)
        group: dict[str, object] = {"zarr_format": 3, "node_type": "group", "attributes": {}}
        if consolidated is not None:
            group["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": consolidated}
        (store / "zarr.json").write_text(json.dumps(group))
        (store / "values" / "zarr.json").write_text(json.dumps({**ARRAY_3, **changed}))
        if chunk is not None:
            (store / "values" / "c" / "0").write_bytes(chunk)
        return store

    return make


def sharded(*codecs: dict, index: tuple[dict, ...] = (BYTES,)) -> list[dict]:
    shard = {"chunk_shape": [32], "codecs": [BYTES, *codecs], "index_codecs": list(index), "index_location": "end"}
    return [{"name": "sharding_indexed", "configuration": shard}]


def shard_of(*chunks: bytes) -> bytes:
    index, place = b"", 0
    for chunk in chunks:
        index += struct.pack("<QQ", place, len(chunk))
        place += len(chunk)
    return b"".join(chunks) + index


GZIP = {"name": "gzip", "configuration": {"level": 1}}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
for label, make, code in (
    ("any-codec", zarr_3("any3", codecs=[BYTES, {"name": "nobody_has_this"}]), "unknown-codec"),
    ("pickle", zarr_3("pickle3", codecs=[{"name": "numcodecs.pickle", "configuration": {}}, BYTES]), "unknown-codec"),
    (
        "pickle-consolidated",
        zarr_3("hidden3", consolidated={"values": {**ARRAY_3, "codecs": [{"name": "numcodecs.pickle"}]}}),
        "unknown-codec",
    ),
    ("strings", zarr_3("string3", data_type="string", codecs=[{"name": "vlen-utf8"}]), "unsafe-type"),
    ("objects", zarr_3("object3", data_type={"name": "object"}), "unsafe-type"),
    ("gzip-bomb", zarr_3("gzip3", gzipped_zeros(BOMB), codecs=[BYTES, GZIP]), "expanding-chunk"),
    ("zstd-bomb", zarr_3("zstd3", zstd_zeros(BOMB), codecs=[BYTES, ZSTD]), "expanding-chunk"),
    (
        "members-of-gzip-bomb",
        zarr_3("members3", gzip.compress(bytes(512)) + gzipped_zeros(BOMB), codecs=[BYTES, GZIP]),
        "expanding-chunk",
    ),
    (
        "shard-bomb",
        zarr_3("shard3", shard_of(gzip.compress(bytes(256)), gzipped_zeros(BOMB)), codecs=sharded(GZIP)),
        "expanding-chunk",
    ),
    ("shard-of-nothing", zarr_3("nothing3", b"\xff" * 32, codecs=sharded(GZIP)), None),
    ("shard-in-a-shard", zarr_3("nested3", codecs=sharded(*sharded())), "unknown-codec"),
    ("shard-index-compressed", zarr_3("index3", codecs=sharded(index=(BYTES, GZIP))), "unknown-codec"),
    ("storage-transformers", zarr_3("transformers3", storage_transformers=[{"name": "any"}]), "unknown-codec"),
    (
        "separator-out-of-the-store",
        zarr_3("separator3", chunk_key_encoding={"name": "default", "configuration": {"separator": "/../"}}),
        "broken-file",
    ),
    ("path-out-of-the-store", zarr_3("path3", consolidated={"../../secret": ARRAY_3}), "broken-file"),
    ("endless-coordinate", zarr_3("endless3", None, shape=[10**13]), "larger-than-memory"),
):
    hostile(f"zarr3-{label}", code)(make)


@hostile("zarr3-linked-metadata", "symbolic-link")
def _linked_metadata(folder: pathlib.Path) -> pathlib.Path:
    store = zarr_3("linked3")(folder)
    (store / "values" / "zarr.json").rename(folder / "elsewhere.json")
    (store / "values" / "zarr.json").symlink_to(folder / "elsewhere.json")
    return store


# --- NetCDF-3, GRIB, GeoTIFF, others ---------------------------------------------------------------------------------


def content(name: str, data: bytes):
    def make(folder: pathlib.Path) -> pathlib.Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def classic(size: int, begin: int = 128) -> bytes:
    """A classic file with one variable along one dimension of its name."""
    named = struct.pack(">I", 1) + b"x\0\0\0"
    return (
        b"CDF\x01"
        + struct.pack(">I", 0)
        + struct.pack(">II", 10, 1)
        + named
        + struct.pack(">I", size)
        + bytes(8)
        + struct.pack(">II", 11, 1)
        + named
        + struct.pack(">II", 1, 0)
        + bytes(8)
        + struct.pack(">III", 6, min(8 * size, 2**32 - 1), begin)
    ).ljust(256, b"\0")


VRT = b'<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand><SourceFilename>/etc/passwd</SourceFilename>'
for label, make, code in (
    ("classic-endless-coordinate", content("endless.nc", classic(2**31 - 1)), "broken-file"),
    ("classic-beyond-the-end", content("beyond.nc", classic(8, begin=2**31)), "broken-file"),
    (
        "classic-endless-names",
        content("names.nc", b"CDF\x01" + bytes(4) + struct.pack(">III", 10, 1, 2**30)),
        "broken-file",
    ),
    ("geotiff-that-is-a-VRT", content("picture.tif", VRT), "unknown-format"),
    ("VRT", content("picture.vrt", VRT), "unknown-format"),
    ("pickle", content("data.pkl", pickle.dumps({"a": 1})), "unknown-format"),
    ("gzip", content("data.nc.gz", gzip.compress(bytes(99))), "unknown-format"),
    ("page", content("page.nc", b"<html>404</html>"), "unknown-format"),
):
    hostile(label, code)(make)
