"""Identity of a run: what its results depend on. A store is resumed by a run of the same identity only."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.core.paths import is_compiled
from xvar.execution.batches import Batch, Work
from xvar.plan.configuration import ATTRIBUTE
from xvar.runs.identity import WITHOUT_EFFECT, Identity

BINDING_VERSIONS = ("xvar", "torch", "numba", "python")  # another one may change bits
_NAMED = 6  # differences in a message
_PACKAGES = ("xvar", "torch", "numpy", "xarray", "dask")


@dataclass(frozen=True)
class Manifest:
    """Identity of a run: configuration, solver, code, output, versions, windows in all and in a batch.

    `solver` has the digests of the planned solver by the path of its parts, `code` that of the bytecode of models and
    functions that are not installed, `output` types, sizes, units and coordinates. `options` of the call are not
    compared, but name what differs.
    """

    options: Mapping[str, str]
    configuration: Mapping[str, Any]
    solver: Mapping[str, str]
    code: str
    output: Mapping[str, str]
    versions: Mapping[str, str]
    windows: int
    batch: int

    def differences(self, now: Manifest) -> list[str]:
        """Name what makes results of the run that works now differ from those in the store; versions apart."""
        found = [*_compare("configuration ", self.configuration, now.configuration)]
        found += [f"{key} differs" for key in sorted(_unequal(self.solver, now.solver))]
        found += _compare("output ", self.output, now.output)
        if self.code != now.code and self.versions["python"] == now.versions["python"]:
            found.append("code of a model or function that is not part of an installed package differs")
        if self.windows > now.windows:
            found.append(f"windows: {self.windows} in the store, {now.windows} now")
        named = _compare("", self.options, now.options) if found else []
        if named:  # what follows from the options needs no line
            found = [line for line in found if not line.startswith(("configuration ", "output "))]
        rest = [] if len(found) <= _NAMED else [f"and {len(found) - _NAMED} more"]
        return [*named, *found[:_NAMED], *rest]

    def other_versions(self, now: Manifest) -> list[str]:
        """Name the versions that may change bits and differ."""
        then, other = ({name: part.versions.get(name) for name in BINDING_VERSIONS} for part in (self, now))
        return _compare("", then, other)


def _unequal(then: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    return {key for key in {*then, *now} if then.get(key) != now.get(key)}


def _compare(title: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{title}{key}: {_short(then.get(key))} in the store, {_short(now.get(key))} now"
        for key in sorted(_unequal(then, now))
    ]


def make_manifest(analysis: xr.Dataset, work: Work, options: Mapping[str, Any], windows: int, batch: int) -> Manifest:
    """Return the manifest of a run.

    InputError if a part of the solver cannot be identified by content.
    """
    plain = json.loads(analysis.attrs.get(ATTRIBUTE, "{}"))
    identity = Identity()
    solver = identity.parts(work.solve, "solver") | identity.parts(work.carried, "carried")
    code = hashlib.blake2b(b"".join(identity.code), digest_size=16).hexdigest()
    versions = {"python": ".".join(map(str, sys.version_info[:2])), **{name: version(name) for name in _PACKAGES}}
    versions["numba"] = version("numba") if is_compiled() else "not used"
    manifest = Manifest(
        {name: _named(value) for name, value in options.items() if name not in WITHOUT_EFFECT and value is not None},
        {key: value for key, value in plain.items() if key not in {*WITHOUT_EFFECT, "notes"}},
        solver, code, _output(analysis), versions, windows, batch,
    )  # fmt: skip
    # Through JSON, so that what is compared is what was written.
    return Manifest(**json.loads(json.dumps(asdict(manifest))))


def _output(analysis: xr.Dataset) -> dict[str, str]:
    """Return what the variables of the output are; times of windows are part of the digests of their frames."""
    found = {}
    for name, part in analysis.variables.items():
        sizes = {str(dim): size for dim, size in part.sizes.items() if dim != "window"}
        kind = part.dtype.name if part.dtype.kind not in "mM" else part.dtype.kind
        text = f"{kind} {sizes} {part.attrs.get('units')}"
        if part.chunks is None and "window" not in part.dims:
            text += f" {Identity().digest(np.asarray(part.values), str(name)).hex()}"
        found[str(name)] = text
    return found


def frame_digests(batch: Batch, frames: NDArray[Any], held: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Return digests (window,) of frames (frame, ..., y, x) and their times; rechunking and copying change none.

    `held` (frame,) are the numbers of these frames in the record.
    """
    native = np.ascontiguousarray(frames, frames.dtype.newbyteorder("="))
    place = np.searchsorted(held, batch.needed)
    each = {int(row): hashlib.blake2b(native[row], digest_size=16).digest() for row in place}
    result = np.zeros(len(batch), np.uint64)
    for window in range(len(batch)):
        rows = batch.frames[window][batch.frames[window] >= 0]
        starts = round(float(batch.starts[window]), 3)
        span = "" if batch.spans is None else [_date(moment) for moment in batch.spans[window]]
        seconds = np.round(batch.seconds[window, : len(rows)], 3).tolist()
        head = f"{native.dtype.str} {native.shape[1:]} {span} {starts} {seconds}".encode()
        content = b"".join((head, *(each[int(place[row])] for row in rows)))
        result[window] = max(1, int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little"))
    return result


def _date(moment: Any) -> str:
    """Return a date in milliseconds: files and versions of xarray have different precisions."""
    return str(moment.astype("datetime64[ms]") if isinstance(moment, np.datetime64) else moment)


def _named(value: Any) -> str:
    """Return an option as a message names it."""
    text = repr(value)
    if len(text) < 40 and " at 0x" not in text:
        return text
    return f"{type(value).__name__} {Identity().digest(value, 'option').hex()[:8]}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
