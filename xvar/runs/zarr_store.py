"""Results of a run in a Zarr store, which can be read at any time."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import InputError, Status, require
from xvar.execution.batches import Fields
from xvar.io.writing import StoreError, checksum, disk_errors, remove, replace, sync_all
from xvar.runs.journal import State, WriteRecord, append, fill_of, header, repair
from xvar.runs.manifest import Manifest
from xvar.runs.store import Checksums, Damage, Store, few_numbers, per_window

NUMBERS_OF_CHUNK = 4096  # windows of a chunk of a variable with few numbers a window
_METADATA = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})


class ZarrStore(Store):
    """Results in a Zarr store, which can be read at any time: windows that were not run have status 0.

    Every chunk has a CRC-32, which zarr checks when it is read. A store that replaces another grows beside it as
    ``.NAME.new`` until it is complete.
    """

    JOURNAL = Path("status", "xvar.journal")  # inside an array, where zarr lists no members and copies take it along

    def __init__(self, path: Path, *, zarr_format: int | None = None) -> None:
        super().__init__(path, "new")
        zarr = require("zarr", "zarr", repr(str(path)), ", or a name in .nc")
        formats = (2, 3) if hasattr(zarr, "config") else (2,)
        if zarr_format not in (None, *formats):
            raise InputError(
                code="unknown-zarr-format",
                found=f"zarr_format={zarr_format} with zarr {zarr.__version__}",
                expected=" or ".join(map(str, formats)),
                fix="zarr_format=2, or pip install -U zarr",
            )
        self.zarr_format = zarr_format

    def write_empty(self, draft: Path, analysis: xr.Dataset, manifest: Manifest) -> Checksums:  # noqa: D102  (see Store)
        import dask.array
        import zarr

        version = self.zarr_format or int(zarr.config.get("default_zarr_format", 2) if hasattr(zarr, "config") else 2)
        template = analysis.copy()
        encoding: dict[Hashable, dict[str, Any]] = {
            variable: {**part.encoding, **_checked(version)} for variable, part in analysis.variables.items()
        }
        computed = {name: analysis[name] for name in per_window(analysis)}
        for name, part in computed.items():
            rows = min(NUMBERS_OF_CHUNK if few_numbers(part) else manifest.batch, part.sizes["window"])
            empty = dask.array.full(part.shape, fill_of(part), dtype=part.dtype, chunks=(rows, *part.shape[1:]))
            template[name] = part.copy(data=empty)
            encoding[name]["chunks"] = (rows, *part.shape[1:])
            if version == 3:  # xarray reads the mask from _FillValue, and zarr what was not written from fill_value
                encoding[name]["fill_value"] = fill_of(part)
        kwargs: dict[str, Any] = {"zarr_format" if hasattr(zarr, "config") else "zarr_version": version}
        with warnings.catch_warnings():
            # Xarray warns if metadata are not consolidated, and zarr if those of format 3 are.
            warnings.filterwarnings("ignore", "Consolidated metadata is currently not part", UserWarning)
            template.to_zarr(draft, mode="w", compute=False, encoding=encoding, consolidated=True, **kwargs)
        for name, part in computed.items():
            _check_fill(draft, name, fill_of(part), version)
        # What no run changes: metadata and coordinates.
        written = (file.relative_to(draft) for file in sorted(draft.rglob("*")) if file.is_file())
        static = [file for file in written if file.name in _METADATA or file.parts[0] not in computed]
        sync_all((draft / file for file in static), draft)
        return {file.as_posix(): checksum(draft / file) for file in static}

    def resume(  # noqa: D102  (see Store)
        self, analysis: xr.Dataset, manifest: Manifest, state: State, again: Sequence[int] = ()
    ) -> list[Damage]:
        with disk_errors(self.place):
            repair(self.journal)
            for partial in self.place.rglob("*.partial"):
                partial.unlink(missing_ok=True)
            if not self.instead:
                remove(self.new)  # the former store, if a kill came before it was removed
            damages = self.damages(state)
            self.forget(damages, again, state)
            changed = state.manifest != manifest
            state.grow(manifest)
            if changed or any(damage.begin == damage.end for damage in damages):
                self._renew(analysis, manifest, state)
            if damages or changed or again:
                self._publish(state, range(manifest.windows))
        return damages

    def _renew(self, analysis: xr.Dataset, manifest: Manifest, state: State) -> None:
        """Write metadata and coordinates again, also those of a record that has grown."""
        self.zarr_format = 3 if (self.place / "zarr.json").exists() else 2
        with self.drafted() as draft:
            state.static = self.write_empty(draft, analysis, manifest)
            for path in state.static:
                (self.place / path).parent.mkdir(parents=True, exist_ok=True)
                (draft / path).replace(self.place / path)
            sync_all((self.place / path for path in state.static), self.place)
            append(self.journal, header(manifest, state.static))

    def write(  # noqa: D102  (see Store)
        self, begin: int, fields: Fields, *, alone: bool = False
    ) -> tuple[Checksums, tuple[int, int]]:
        store, files, chunk = self.place, list[str](), (begin, begin)
        with disk_errors(store):
            for name, values in fields.items():
                array = _open(store, name)
                end, size = begin + len(values), array.chunks[0]
                first = begin // size * size
                chunk = first, min(first + size, array.shape[0])
                if not alone and (begin, end) != chunk:
                    raise InputError(
                        code="cut-chunk",
                        variable=name,
                        dimension="window",
                        found=f"windows {begin} to {end - 1}, which cut through chunks of {size}",
                        expected="the windows of one chunk: two writers in it would undo each other's work",
                        fix=f"begin and end at multiples of {size}",
                    )
                array[begin:end] = values
                files.append(_chunk_path(store, name, first // size, array.ndim))
            sync_all((store / path for path in files), store)
            return {path: checksum(store / path) for path in files}, chunk

    def read(self, window: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:  # noqa: D102  (see Store)
        return {name: np.asarray(_open(self.place, name, mode="r")[window]) for name in names}

    def is_noted(self, begin: int, end: int) -> bool:  # noqa: D102  (see Store)
        return bool((_open(self.place, "status", mode="r")[begin:end] != Status.NOT_RUN).all())

    def commit(self, records: Sequence[WriteRecord], state: State) -> None:  # noqa: D102  (see Store)
        super().commit(records, state)
        with disk_errors(self.place):
            self._publish(state, [window for record in records for window in range(record.begin, record.end)])

    def _publish(self, state: State, windows: Sequence[int]) -> None:
        """Copy numbers of windows from the journal into the arrays that readers see; the status last."""
        chunks = sorted({window // NUMBERS_OF_CHUNK for window in windows})
        for name in sorted(state.numbers, key="status".__eq__):
            array = _open(self.place, name)
            for chunk in chunks:
                rows = slice(chunk * NUMBERS_OF_CHUNK, (chunk + 1) * NUMBERS_OF_CHUNK)
                array[rows] = state.numbers[name][rows]

    def damages(self, state: State) -> list[Damage]:  # noqa: D102  (see Store)
        found = self.damaged_files(state)
        for name, values in state.numbers.items():
            try:
                same = np.array_equal(_open(self.place, name, "r")[:], values, equal_nan=values.dtype.kind == "f")
            except Exception:  # noqa: BLE001  (zarr and numcodecs raise what they like at damaged bytes)
                same = False
            if not same:
                found.append(Damage(str(self.place / name)))
        return found

    def check_status(self) -> None:  # noqa: D102  (see Store)
        try:
            _open(self.place, "status", "r")[:]
        except Exception as error:
            raise StoreError(
                errno.EIO, "the status of its windows is damaged. Fix: run the same command again", str(self.place)
            ) from error

    def finish(self, analysis: xr.Dataset, state: State) -> None:  # noqa: ARG002, D102  (see Store)
        with disk_errors(self.path, f"the results are kept in {self.place}"):
            sync_all((file for name in state.numbers for file in (self.place / name).rglob("*")), self.place)
            if self.instead:
                replace(self.new, self.path)
                self.instead = False


def _checked(version: int) -> dict[str, Any]:
    """Return the codecs of an array whose chunks have checksums."""
    if version == 3:
        from zarr.codecs import Crc32cCodec, ZstdCodec

        return {"compressors": (ZstdCodec(), Crc32cCodec())}
    import numcodecs  # type: ignore[import-untyped]

    return {"filters": (numcodecs.CRC32(),)}


def _check_fill(draft: Path, name: str, fill: float, version: int) -> None:
    """Refuse a version of xarray that sets no fill value: windows that were not run would read as zero."""
    array = _open(draft, name)
    have = array.fill_value
    if have is None and fill == 0 and version == 2:
        # Format 2 has the fill value in the place of the mask, and zero is not missing: it is written.
        array[:] = 0
    elif have is None or not (np.isnan(have) if np.isnan(fill) else have == fill):
        raise StoreError(f"{draft}: {name} has the fill value {have}, not {fill}; a newer xarray sets it")


def _chunk_path(store: Path, name: str, index: int, dimensions: int) -> str:
    """Path of a chunk that is whole but along its first dimension."""
    key = [str(index), *"0" * (dimensions - 1)]
    return "/".join((name, "c", *key)) if (store / name / "zarr.json").exists() else f"{name}/{'.'.join(key)}"


def _open(store: Path, name: str, mode: Any = "r+") -> Any:
    import zarr

    return zarr.open_array(str(store), path=name, mode=mode)
