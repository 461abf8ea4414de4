"""Results of a run in parts, which become a NetCDF file when all are there."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import NetCDF4BackendEntrypoint

from xvar.execution.batches import Fields
from xvar.io.structure import is_intact, is_readable, seal
from xvar.io.writing import StoreError, checksum, disk_errors, durable, remove, sync
from xvar.io.writing import replace as replace_store
from xvar.runs.journal import State, append, fill_of, header, line, read_journal, repair
from xvar.runs.manifest import Manifest
from xvar.runs.store import Checksums, Damage, Store, per_window

_GROUP = "xvar_run"  # of the file: its journal, and the checksums of its variables


class NetCDFStore(Store):
    """Results in one file a batch in the folder ``.NAME.parts``, which become one NetCDF file at the end.

    A file that is to be replaced stays until then. Every variable has Fletcher checksums, which HDF5 checks when it is
    read; the structure around them has a seal, which is checked before.
    """

    JOURNAL = Path("journal")

    def __init__(self, path: Path) -> None:
        super().__init__(path, "parts")

    @property
    def place(self) -> Path:  # noqa: D102  (see Store)
        return self.new

    @property
    def is_finished(self) -> bool:  # noqa: D102  (see Store)
        return self.path.exists() and not self.new.exists()

    def state(self) -> State | None:  # noqa: D102  (see Store)
        if self.new.exists():
            return super().state()
        try:
            if not is_intact(self.path) and not is_readable(self.path):
                return None
            with xr.open_dataset(self.path, group=_GROUP, engine=NetCDF4BackendEntrypoint) as group:
                return read_journal(group["journal"].values.tobytes())
        except (OSError, ValueError, KeyError, RuntimeError):  # no file, another file, or one that is damaged
            return None

    def write_empty(self, draft: Path, *_: Any) -> Checksums:  # noqa: D102  (see Store)
        draft.mkdir()
        return {}

    def resume(  # noqa: D102  (see Store)
        self, analysis: xr.Dataset, manifest: Manifest, state: State, again: Sequence[int] = ()
    ) -> list[Damage]:
        with disk_errors(self.path):
            damages = self.damages(state)
            changed = state.manifest != manifest
            if self.is_finished:
                if not (damages or changed or again):
                    return []
                lost = {window for damage in damages for window in range(damage.begin, damage.end)}
                self._take_apart(analysis, state, lost.union(again))
            else:
                repair(self.journal)
                known = {self.journal.name}.union(*state.files.values())
                for file in self.new.iterdir():  # what a killed run did not note
                    if file.name not in known:
                        file.unlink()
                self.forget(damages, again, state)
            if changed:
                append(self.journal, header(manifest, {}))
                state.grow(manifest)
        return damages

    def _take_apart(self, analysis: xr.Dataset, state: State, lost: set[int]) -> None:
        """Make parts of the batches of a file without windows that are lost; the file stays until it is replaced."""
        self.create(analysis, state.manifest)
        fields = [name for name in per_window(analysis) if name not in state.numbers]
        with netCDF4.Dataset(self.path) as file:
            file.set_auto_maskandscale(False)
            for begin, end in _spans(state.manifest):
                if lost.isdisjoint(range(begin, end)):
                    files, chunk = self.write(begin, {name: file[name][begin:end] for name in fields})
                    self.commit([replace(state.record(begin, end), files=files, chunk=chunk)], state)
                else:
                    append(self.journal, line(state.forget(begin, end)))

    def write(  # noqa: D102  (see Store)
        self, begin: int, fields: Fields, **_: Any
    ) -> tuple[Checksums, tuple[int, int]]:
        end = begin + len(next(iter(fields.values())))
        target = self.new / f"windows-{begin:07d}-{end:07d}.npz"
        with disk_errors(self.new):
            with durable(target) as file:
                arrays: dict[str, Any] = dict(fields)
                np.savez(file, **arrays)
            return {target.name: checksum(target)}, (begin, end)

    def read(self, window: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:  # noqa: D102  (see Store)
        for begin, end, path in _files(self.new):
            if begin <= window < end:
                return {name: _load(path, name)[window - begin] for name in names}
        raise StoreError(f"{self.new}: no part with window {window}")

    def is_noted(self, *_: int) -> bool:  # noqa: D102  (see Store)
        return False  # a part is there before the run has noted it, and may still ask for it

    def damages(self, state: State) -> list[Damage]:  # noqa: D102  (see Store)
        if not self.is_finished:
            return self.damaged_files(state)
        now, spans = _checksums(self.path, state), _spans(state.manifest)
        found = [] if is_intact(self.path) else [Damage(f"{self.path}: structure")]
        for key, number in state.static.items():
            if now.get(key) != number:
                name, _, index = key.partition(" ")
                lost = spans[int(index)] if index and name not in state.numbers else ()
                found.append(Damage(f"{self.path}: {name}", *lost))
        return found

    def finish(self, analysis: xr.Dataset, state: State) -> None:  # noqa: D102  (see Store)
        import dask

        result = analysis.copy()
        for name in per_window(analysis):
            data = state.numbers[name] if name in state.numbers else _joined(analysis[name], self.new, state)
            result[name] = analysis[name].copy(data=data)
            result[name].encoding = dict(analysis[name].encoding)
        encoding = {name: _checked(part) for name, part in result.variables.items()}
        with disk_errors(self.path, f"the parts are kept in {self.new}"), self.drafted() as draft:
            with dask.config.set(scheduler="synchronous"):  # part by part, and by no client
                result.to_netcdf(draft, engine="netcdf4", encoding=encoding)
            _add_journal(draft, self.journal, state)
            seal(draft)
            sync(draft)
            replace_store(draft, self.path)
        remove(self.new)


def _spans(manifest: Manifest) -> list[tuple[int, int]]:
    """Return begin and end of each batch."""
    step, windows = manifest.batch, manifest.windows
    return [(begin, min(begin + step, windows)) for begin in range(0, windows, step)]


def _checked(part: xr.Variable) -> dict[str, Any]:
    """Return an encoding with checksums; HDF5 has none for scalars and text of any length."""
    if not part.ndim or part.dtype.kind in "OSU":
        return dict(part.encoding)
    frame = (*(1,) * (part.ndim - 2), *part.shape[-2:])
    return {**part.encoding, "fletcher32": True, "chunksizes": frame if part.ndim > 2 else part.shape}


def _add_journal(draft: Path, journal: Path, state: State) -> None:
    """Copy the journal into a file, with the checksums of its content."""
    content = journal.read_bytes() + header(state.manifest, _checksums(draft, state))
    with netCDF4.Dataset(draft, "a") as file:
        group = file.createGroup(_GROUP)
        group.createDimension("byte", len(content))
        variable = group.createVariable("journal", "u1", ("byte",), zlib=True, fletcher32=True)
        variable[:] = np.frombuffer(content, np.uint8)


def _checksums(path: Path, state: State) -> Checksums:
    """Return checksums of the content of a file: of attributes and dimensions, and of variables batch by batch."""
    spans = _spans(state.manifest)
    found: Checksums = {}
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        file.set_auto_chartostring(False)
        described = {
            name: (str(part.dtype), part.dimensions, _attributes(part)) for name, part in file.variables.items()
        }
        sizes = {name: len(dim) for name, dim in file.dimensions.items()}
        found["attributes"] = zlib.crc32(repr((described, sizes, _attributes(file))).encode())
        for name, part in file.variables.items():
            by_window = bool(part.ndim) and part.dimensions[0] == "window"
            for index, (begin, end) in enumerate(spans) if by_window else [("", (0, 0))]:
                key = f"{name} {index}".rstrip()
                try:
                    values = np.ma.getdata(part[begin:end] if by_window else part[...])
                    text = values.dtype.hasobject
                    found[key] = zlib.crc32(repr(values.tolist()).encode() if text else values.tobytes())
                except (OSError, RuntimeError, UnicodeDecodeError):  # HDF5 found another checksum
                    found[key] = None
    return found


def _attributes(part: Any) -> dict[str, str]:
    return {name: repr(part.getncattr(name)) for name in sorted(part.ncattrs())}


def _joined(part: xr.DataArray, folder: Path, state: State) -> Any:
    """Return a variable from its parts, read when it is written."""
    import dask.array
    from dask.delayed import delayed

    pieces, done = [], 0
    for begin, end, path in [*_files(folder), (state.manifest.windows, state.manifest.windows, None)]:
        if begin > done:  # of windows whose workers died there is no part
            rest = (begin - done, *part.shape[1:])
            pieces.append(dask.array.full(rest, fill_of(part), dtype=part.dtype, chunks=rest))
        if path is not None:
            shape = (end - begin, *part.shape[1:])
            pieces.append(dask.array.from_delayed(delayed(_load)(path, part.name), shape, part.dtype))
        done = end
    return dask.array.concatenate(pieces)


def _load(path: Path, name: str) -> NDArray[Any]:
    with np.load(path) as part:
        return np.asarray(part[name])


def _files(folder: Path) -> list[tuple[int, int, Path]]:
    """Return begin and end of the windows of each part, in order."""
    spans = {path: path.stem.split("-")[1:] for path in folder.glob("windows-*.npz")}
    return sorted((int(begin), int(end), path) for path, (begin, end) in spans.items())
