"""Check an HDF5 file before NetCDF opens it: nothing outside of it is read, nothing expands beyond what it declares."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from xvar.io.expansion import HARMLESS, Refuse, expands, one_compressor

#: Filters by their registered number.
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 32000: "lzf", 32001: "blosc", 32015: "zstd"}
#: Strings of variable length: each may refer to the same megabytes.
STRINGS = 100_000


def check_hdf5(path: Path, refuse: Refuse) -> dict[str, int]:
    """Check all links, datasets and chunks; return the declared bytes of each dataset of one dimension.

    `refuse` makes the error from a code, a place in the file and a description.
    """
    import h5py

    sizes: dict[str, int] = {}
    try:
        with h5py.File(path, "r") as file:
            waiting, seen = [("", file["/"])], {h5py.h5o.get_info(file["/"].id).addr}
            while waiting:
                prefix, group = waiting.pop()
                for name in group:
                    place = f"{prefix}/{name}"
                    link = group.get(name, getlink=True)
                    if isinstance(link, h5py.ExternalLink):
                        raise refuse("external-link", place, f"an external link to {link.filename}:{link.path}")
                    if isinstance(link, h5py.SoftLink):
                        continue  # within the file: its target has a link of its own
                    member = group[name]
                    identity = h5py.h5o.get_info(member.id).addr
                    if identity in seen:
                        if isinstance(member, h5py.Group):  # netCDF-C follows a circle of groups without end
                            raise refuse("repeated-group", place, "a group that has another place, too,")
                        continue
                    seen.add(identity)
                    if isinstance(member, h5py.Group):
                        waiting.append((place, member))
                    elif isinstance(member, h5py.Dataset):
                        size = _check_dataset(member, path, place, refuse)
                        if len(member.shape or ()) == 1:
                            sizes[place] = size
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, RecursionError) as error:
        if hasattr(error, "faults"):
            raise
        raise refuse("broken-file", "/", f"a structure that cannot be read ({error})") from error
    return sizes


def _check_dataset(dataset: Any, path: Path, place: str, refuse: Refuse) -> int:
    """Check the storage of a dataset; return the bytes that it declares."""
    if dataset.is_virtual:
        raise refuse("virtual-dataset", place, f"a virtual dataset of {dataset.virtual_sources()[0].file_name}")
    if dataset.external:
        raise refuse("external-storage", place, f"data in another file, {dataset.external[0][0]}")
    plist, item = dataset.id.get_create_plist(), dataset.id.get_type().get_size()
    numbers = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    for number in set(numbers) - set(FILTERS):
        raise refuse("unknown-filter", place, f"filter {number} of HDF5")
    codecs = [FILTERS[number] for number in numbers]
    if not one_compressor(codecs):
        raise refuse("unknown-filter", place, f"filters {', '.join(codecs)}, of which one more compresses")
    size = prod(dataset.shape or ()) * int(item)
    if dataset.dtype.kind == "O":
        _check_strings(dataset, path, place, refuse)
    if dataset.chunks is not None and dataset.shape:
        declared = prod(dataset.chunks) * item
        chunks: list[Any] = []
        dataset.id.chunk_iter(chunks.append)  # nothing else may be read from within
        for info in chunks:

            def read(offset: tuple[int, ...] = info.chunk_offset) -> memoryview:
                return memoryview(dataset.id.read_direct_chunk(offset)[1])

            if expands(codecs, info.size, read, declared, size):
                found = f"a chunk at {info.chunk_offset} that decodes to more than the {declared} bytes it declares"
                raise refuse("expanding-chunk", place, found)
    return size


def _check_strings(dataset: Any, path: Path, place: str, refuse: Refuse) -> None:
    """Check the length of all strings together: elements may share what they refer to."""
    import h5py

    if h5py.check_ref_dtype(dataset.dtype) is not None:
        return
    limit, total = 4 * max(path.stat().st_size, HARMLESS // 4), 0
    if dataset.size and dataset.size > STRINGS:
        raise refuse("too-many-strings", place, f"{dataset.size} values of variable length")
    for index in range(dataset.size or 0):
        value = dataset[np.unravel_index(index, dataset.shape)]
        total += len(value) * getattr(getattr(value, "dtype", None), "itemsize", 1)
        if total > limit:
            raise refuse("expanding-chunk", place, f"strings of more than {limit} bytes in all")
