"""Check untrusted files before a library opens them: no other file is read, no code runs, memory is bounded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xvar.cf.record import available_memory
from xvar.errors import Fault, InputError
from xvar.io.bitmaps import check_gif, check_npz
from xvar.io.expansion import Refuse
from xvar.io.formats import NAMES, engine, formats
from xvar.io.netcdf import broken_header, check_hdf5
from xvar.io.zarr import CONSOLIDATED_2, NODE_3, check_zarr, read_metadata

_CHECKS = {"hdf5": check_hdf5, "zarr": check_zarr, "npz": check_npz, "gif": check_gif}
TRUST = "xarray.open_dataset(path) if the file is trusted; --trusted on the command line"


def check_untrusted(path: Path) -> dict[str, Any]:
    """Check a file or local Zarr store; return options of `xarray.open_dataset` that read the checked format alone.

    InputError as of `checked_format`, or if no engine of xarray reads the format.
    """
    return engine(path, checked_format(path))


def checked_format(path: Path) -> str:
    """Check a file or local Zarr store; return its format, a key of `NAMES`.

    InputError if the format is unknown or ambiguous; if the file reaches for another, has filters, codecs or types that
    are not known to be safe, chunks that decode to more than they declare, or a coordinate larger than memory.
    """
    refuse, found = _refusals(path), sorted(formats(path))
    if len(found) != 1:
        what = " and ".join(NAMES[name] for name in found) + " in one file" if found else "no known format"
        raise InputError(Fault(f"{path}: {what}", f"one of {', '.join(NAMES.values())}", TRUST, code="unknown-format"))
    (name,) = found
    broken = broken_header(path) if name == "classic" else None
    if broken is not None:
        raise refuse("broken-file", "/", broken)
    sizes = _CHECKS[name](path, refuse) if name in _CHECKS else {}
    _refuse_large(sizes, refuse)
    return name


def check_untrusted_metadata(store: Mapping[str, bytes], url: str) -> None:
    """Check the consolidated metadata of a Zarr store at a URL, without its chunks; refuse others."""
    refuse = _refusals(url)
    name = CONSOLIDATED_2 if CONSOLIDATED_2 in store else NODE_3
    content = store.get(name, b"")
    if name == NODE_3 and b'"consolidated_metadata"' not in content:
        raise refuse("unknown-format", "/", "a store without consolidated metadata")
    sizes = {array.place: array.size for array in read_metadata("", name, content, refuse) if array.dimensions == 1}
    _refuse_large(sizes, refuse)


def _refuse_large(sizes: Mapping[str, int], refuse: Refuse) -> None:
    """Refuse coordinates larger than memory: xarray reads them when it opens a file."""
    have = available_memory()
    for place, size in sizes.items():
        if size > have:
            raise refuse("larger-than-memory", place, f"{size / 1e9:.3g} GB along one dimension")


def _refusals(path: Path | str) -> Refuse:
    def refuse(code: str, place: str, what: str) -> InputError:
        return InputError(
            code=code,
            found=f"{path}: {what} at {'/' + place.lstrip('/')!r}",
            expected="data in the file itself, in plain types and well-known codecs, of the size that it declares",
            fix=f"a copy made by ncks or h5repack; {TRUST}",
        )

    return refuse
