"""Check a Zarr store of format 2 or 3 before it is opened: known codecs and types, chunks that decode as declared."""

from __future__ import annotations

import json
import mmap
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from xvar.io.expansion import COMPRESSORS, SAME_SIZE, Refuse, expands, one_compressor

ARRAY_2, GROUP_2, ATTRIBUTES_2, CONSOLIDATED_2, NODE_3 = ".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json"
METADATA = frozenset({ARRAY_2, GROUP_2, ATTRIBUTES_2, CONSOLIDATED_2, NODE_3})
CODECS = COMPRESSORS - {"deflate", "szip", "lzf"} | SAME_SIZE
METADATA_BYTES = 64_000_000
_TYPE_2 = re.compile(r"[<>|=]?(?P<kind>[biufcSUmM])(?P<bytes>\d{1,6})(\[\d*\w+\])?")
_TYPE_3 = re.compile(r"bool|(?:u?int|float|complex)(?P<bits>8|16|32|64|128)")
_CHUNK = re.compile(r"c|(c\.)?\d+(\.\d+)*")  # end of the path of a chunk; zarr reads no other files
_NOWHERE = 2**64 - 1  # offset of an inner chunk that a shard does not have


@dataclass(frozen=True)
class Array:
    """Bytes of an array by its metadata, and how its chunks are encoded."""

    place: str
    size: int
    chunk: int
    codecs: tuple[str, ...]
    dimensions: int
    #: Of a sharded array: its inner array, the number of inner chunks in a shard, the index at the end, its checksum.
    inner: tuple[Array, int, bool, bool] | None = None


def check_zarr(store: Path, refuse: Refuse) -> dict[str, int]:
    """Check all metadata and chunks of a local store; return the declared bytes of arrays of one dimension."""
    chunks: list[Path] = []
    arrays: dict[Path, list[Array]] = {}
    for folder, folders, names in os.walk(store):
        for name in (*folders, *names):
            entry = Path(folder, name)
            place = str(entry.relative_to(store))
            if entry.is_symlink():
                raise refuse("symbolic-link", place, f"a symbolic link to {entry.resolve()}")
            if not entry.exists():
                continue  # a run that writes into the store has renamed it
            if name in names and not entry.is_file():
                raise refuse("broken-file", place, "neither file nor folder")
            if name in METADATA:
                if entry.stat().st_size > METADATA_BYTES:
                    raise refuse("broken-file", place, f"metadata of more than {METADATA_BYTES} bytes")
                prefix = place.removesuffix(name).rstrip("/")
                for array in read_metadata(prefix, name, entry.read_bytes(), refuse):
                    arrays.setdefault(store / array.place, []).append(array)
            elif name in names and _CHUNK.fullmatch(name):
                chunks.append(entry)
    for entry in chunks:
        for owner in entry.parents:
            for array in arrays.get(owner, ()):
                if _expands(array, entry):
                    found = f"a chunk that decodes to more than the {array.chunk} bytes it declares"
                    raise refuse("expanding-chunk", str(entry.relative_to(store)), found)
            if owner == store:
                break
    return {array.place: array.size for found in arrays.values() for array in found if array.dimensions == 1}


def read_metadata(prefix: str, name: str, content: bytes, refuse: Refuse) -> Iterator[Array]:
    """Yield the arrays that a file of metadata describes, their types and codecs checked."""
    place = f"{prefix}/{name}".lstrip("/")
    try:
        meta = json.loads(content)
        if name == CONSOLIDATED_2:
            for key, value in meta["metadata"].items():
                inside, _, kind = str(key).rpartition("/")
                if kind == ARRAY_2:
                    yield _array_2(_joined(prefix, inside), value, refuse)
        elif name == ARRAY_2:
            yield _array_2(prefix, meta, refuse)
        elif name == NODE_3:
            yield from _nodes_3(prefix, meta, refuse)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        if hasattr(error, "faults"):
            raise
        raise refuse(
            "broken-file", place, f"metadata that are none of Zarr ({type(error).__name__}: {error})"
        ) from error


def _joined(prefix: str, inside: str) -> str:
    if any(part in ("..", ".") for part in inside.split("/")) or "\\" in inside or inside.startswith("/"):
        raise ValueError(f"a path {inside!r} out of the store")
    return f"{prefix}/{inside}".strip("/")


def _array_2(place: str, meta: Mapping[str, Any], refuse: Refuse) -> Array:
    found = meta["dtype"]
    match = _TYPE_2.fullmatch(found) if isinstance(found, str) else None
    if match is None:
        raise refuse("unsafe-type", place, f"values of type {found!r}")
    codecs = [*(meta.get("filters") or []), *([meta["compressor"]] if meta.get("compressor") else [])]
    names = []
    for codec in codecs:
        names.append(_known(codec["id"], place, refuse))
        for key in {"dtype", "astype"} & set(codec):
            if not _TYPE_2.fullmatch(codec[key]):
                raise refuse("unsafe-type", place, f"codec {codec['id']!r} of type {codec[key]!r}")
    if meta.get("dimension_separator", ".") not in (".", "/"):
        raise ValueError("dimension_separator")
    item = int(match["bytes"]) * (4 if match["kind"] == "U" else 1)
    return _array(place, meta["shape"], meta["chunks"], item, names, refuse)


def _nodes_3(place: str, meta: Mapping[str, Any], refuse: Refuse) -> Iterator[Array]:
    """Yield the array of a node, or those of the consolidated metadata of a group."""
    if meta.get("node_type") == "array":
        yield _array_3(place, meta, refuse)
    for key, inside in ((meta.get("consolidated_metadata") or {}).get("metadata") or {}).items():
        yield from _nodes_3(_joined(place, key), inside, refuse)


def _array_3(place: str, meta: Mapping[str, Any], refuse: Refuse) -> Array:
    if meta.get("storage_transformers"):
        raise refuse("unknown-codec", place, f"storage transformers {meta['storage_transformers']!r}")
    keys = meta.get("chunk_key_encoding") or {}
    if keys.get("name") not in (None, "default", "v2") or meta["chunk_grid"]["name"] != "regular":
        raise ValueError("chunk_key_encoding or chunk_grid")
    if (keys.get("configuration") or {}).get("separator", "/") not in (".", "/"):
        raise ValueError("separator")
    item = _item_3(meta["data_type"], place, refuse)
    chunk = meta["chunk_grid"]["configuration"]["chunk_shape"]
    return _coded_3(place, meta["shape"], chunk, item, meta["codecs"], refuse)


def _coded_3(
    place: str, shape: Any, chunk: Any, item: int, codecs: Any, refuse: Refuse, *, inner: bool = False
) -> Array:
    names = [codec if isinstance(codec, str) else codec["name"] for codec in codecs]
    if "sharding_indexed" not in names:
        return _array(place, shape, chunk, item, [_known(name, place, refuse) for name in names], refuse)
    if inner or len(names) != 1:
        raise refuse("unknown-codec", place, f"codecs {names} around a shard")
    shard = codecs[0]["configuration"]
    index = [codec["name"] for codec in shard["index_codecs"]]
    if index[:1] != ["bytes"] or index[1:] not in ([], ["crc32c"]):
        raise refuse("unknown-codec", place, f"codecs {index} of the index of a shard")
    part = _coded_3(place, chunk, shard["chunk_shape"], item, shard["codecs"], refuse, inner=True)
    count = prod(-(-int(a) // int(b)) for a, b in zip(chunk, shard["chunk_shape"], strict=True))
    whole = _array(place, shape, chunk, item, [], refuse)
    at_end = shard.get("index_location", "end") == "end"
    return Array(place, whole.size, whole.chunk, (), whole.dimensions, (part, count, at_end, len(index) == 2))


def _item_3(found: Any, place: str, refuse: Refuse) -> int:
    """Return the bytes of a value."""
    if isinstance(found, str) and (match := _TYPE_3.fullmatch(found)):
        return int(match["bits"] or 8) // 8
    if isinstance(found, dict):
        if found.get("name") in ("numpy.datetime64", "numpy.timedelta64"):
            return 8
        if found.get("name") in ("fixed_length_utf32", "null_terminated_bytes"):
            return int(found["configuration"]["length_bytes"])
    raise refuse("unsafe-type", place, f"values of type {found!r}")


def _known(name: Any, place: str, refuse: Refuse) -> str:
    """Return the plain name of a codec that is known to run no code and to bound its output."""
    plain = str(name).removeprefix("numcodecs.")
    if plain not in CODECS:
        raise refuse("unknown-codec", place, f"codec {name!r}")
    return plain


def _array(place: str, shape: Any, chunk: Any, item: int, codecs: list[str], refuse: Refuse) -> Array:
    sizes, parts = ([int(size) for size in sizes] for sizes in (shape, chunk))
    if len(sizes) != len(parts) or min([*sizes, 0]) < 0 or min([*parts, 1]) < 1:
        raise ValueError(f"shape {shape} in chunks {chunk}")
    if not one_compressor(codecs):
        raise refuse("unknown-codec", place, f"codecs {', '.join(codecs)}, of which one more compresses")
    return Array(place, prod(sizes) * item, prod(parts) * item, tuple(codecs), len(sizes))


def _expands(array: Array, path: Path) -> bool:
    """Return True if the file of a chunk, or an inner chunk of a shard, decodes to more than it declares."""
    size = path.stat().st_size if path.exists() else 0
    if not size:
        return False
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as content,
    ):
        if array.inner is None:
            return expands(array.codecs, size, lambda: content, array.chunk, array.size)
        part, count, at_end, checked = array.inner
        length = 16 * count + 4 * checked
        if length > size:
            return False  # no shard: the reader fails
        index = bytes(content[size - length :] if at_end else content[:length])
        for offset, stored in struct.iter_unpack("<QQ", index[: 16 * count]):
            if offset != _NOWHERE and offset + stored <= size:
                with content[offset : offset + stored] as chunk:
                    if expands(part.codecs, stored, lambda: chunk, part.chunk, array.size):
                        return True
        return False
