"""Results of a run in parts, which become a NetCDF file when all are there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import Fault, InputError, Status
from xvar.runs.manifest import ATTRIBUTE, Manifest
from xvar.runs.store import FAILURES, Fields, Store, StoreError, WriteRecord, flush, nothing_run, per_window, remove


class NetCDFStore(Store):
    """Results in parts, one file a batch in the folder ``.NAME.parts``, which become one NetCDF file in the end.

    The file that may stand at the place stays until then: no reader ever finds half of the new one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.parts = path.with_name(f".{path.name}.parts")

    @property
    def place(self) -> Path:  # noqa: D102  (see Store)
        return self.parts

    @property
    def is_finished(self) -> bool:  # noqa: D102  (see Store)
        return self.path.exists() and not self.parts.exists()

    def manifest(self) -> Manifest | None:  # noqa: D102  (see Store)
        file = self.parts / "manifest.json"
        if file.exists():
            return Manifest.from_json(file.read_text(encoding="utf-8"))
        text = self._attrs().get(ATTRIBUTE)
        return None if text is None else Manifest.from_json(text)

    def _attrs(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        try:
            with xr.open_dataset(self.path) as file:
                return dict(file.attrs)
        except (OSError, ValueError):  # something else bears the name
            return {}

    def create(self, analysis: xr.Dataset, manifest: Manifest) -> None:  # noqa: ARG002, D102  (see Store)
        remove(self.parts)
        draft = self.path.with_name(f".{self.path.name}.draft")
        remove(draft)
        draft.mkdir()
        (draft / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        draft.replace(self.parts)

    def resume(self) -> None:  # noqa: D102  (see Store)
        if self.parts.exists():
            for draft in self.parts.glob("*.draft"):
                draft.unlink(missing_ok=True)

    def writer(self) -> PartWriter:  # noqa: D102  (see Store)
        return PartWriter(str(self.parts))

    def reader(self) -> PartReader:  # noqa: D102  (see Store)
        return PartReader(str(self.parts))

    def commit(self, batches: Sequence[WriteRecord]) -> None:  # noqa: D102  (see Store)
        # The parts hold everything already, but for windows of which no worker lived to tell.
        for batch in batches:
            if not _part(self.parts, batch.begin, len(batch.numbers["status"])).exists():
                PartWriter(str(self.parts))(batch.begin, {}, batch.numbers, batch.failures)

    def _files(self) -> list[tuple[int, int, Path]]:
        return _files(self.parts)

    def status(self) -> NDArray[np.int8]:  # noqa: D102  (see Store)
        if self.is_finished:
            with xr.open_dataset(self.path) as file:
                return np.asarray(file["status"].values, dtype=np.int8)
        manifest = self.manifest()
        status = np.full(0 if manifest is None else manifest.windows, Status.NOT_RUN, np.int8)
        for begin, count, path in self._files():
            with np.load(path) as part:
                status[begin : begin + count] = part["status"]
        return status

    def failures(self) -> dict[int, str]:  # noqa: D102  (see Store)
        if self.is_finished:
            texts = [self._attrs().get(FAILURES, "{}")]
        else:
            texts = []
            for _, _, path in self._files():
                with np.load(path) as part:
                    texts.append(str(part["failures"]))
        return {int(window): reason for text in texts for window, reason in json.loads(text).items()}

    def finish(self, analysis: xr.Dataset) -> None:  # noqa: D102  (see Store)
        import dask

        files, windows = self._files(), analysis.sizes["window"]
        covered = [window for begin, count, _ in files for window in range(begin, begin + count)]
        if covered != list(range(windows)):
            missing = sorted(set(range(windows)) - set(covered))
            raise InputError(
                Fault(
                    found=f"no part for {len(missing)} windows, the first {missing[:1]}",
                    expected=f"a part for every window in {str(self.parts)!r}",
                    fix="run again: only they are computed",
                )
            )
        result = analysis.copy()
        for name in per_window(analysis):
            result[name] = analysis[name].copy(data=_joined(analysis[name], files))
            result[name].encoding = dict(analysis[name].encoding)
        manifest = self.manifest()
        assert manifest is not None
        failures = {str(window): reason for window, reason in self.failures().items()}
        result.attrs = {**analysis.attrs, ATTRIBUTE: manifest.to_json(), FAILURES: json.dumps(failures)}
        draft = self.path.with_name(f".{self.path.name}.draft")
        remove(draft)
        try:
            with dask.config.set(scheduler="synchronous"):  # part by part, and by no client
                result.to_netcdf(draft, engine="netcdf4")
            flush(draft)
            draft.replace(self.path)
        except OSError as error:
            raise StoreError(error.errno, f"{error.strerror or error}; the parts are kept", str(self.path)) from error
        finally:
            remove(draft)
        remove(self.parts)


def _part(folder: Path, begin: int, count: int) -> Path:
    return folder / f"windows-{begin:07d}-{count}.npz"


def _files(folder: Path) -> list[tuple[int, int, Path]]:
    """First window and number of windows of each part, in order."""
    found = []
    for path in folder.glob("windows-*.npz"):
        _, begin, count = path.stem.split("-")
        found.append((int(begin), int(count), path))
    return sorted(found)


def _joined(part: xr.DataArray, files: Sequence[tuple[int, int, Path]]) -> Any:
    """A variable from its parts, read when it is written."""
    import dask.array
    from dask.delayed import delayed

    pieces = [
        dask.array.from_delayed(
            delayed(_load)(path, part.name, (count, *part.shape[1:]), part.dtype, nothing_run(part)),
            (count, *part.shape[1:]),
            part.dtype,
        )
        for _, count, path in files
    ]
    return dask.array.concatenate(pieces)


def _load(path: Path, name: str, shape: tuple[int, ...], dtype: Any, fill: float) -> NDArray[Any]:
    with np.load(path) as part:
        return np.asarray(part[name]) if name in part else np.full(shape, fill, dtype)


@dataclass(frozen=True)
class PartWriter:
    """Writes everything of a batch into a file of its own.

    Attributes
    ----------
    path : str
        Folder of the parts.
    """

    path: str

    def __call__(
        self, begin: int, fields: Fields, numbers: Fields, failures: Mapping[int, str], *, alone: bool = False
    ) -> None:
        """Write windows from `begin` on: all of it or nothing, see `ZarrWriter`."""
        del alone
        target = _part(Path(self.path), begin, len(numbers["status"]))
        draft = target.with_name(f"{target.name}.{os.getpid()}.draft")
        reasons = json.dumps({str(window): reason for window, reason in failures.items()})
        try:
            try:
                with draft.open("wb") as file:
                    arrays: dict[str, Any] = {**fields, **numbers, "failures": np.array(reasons)}
                    np.savez(file, **arrays)
                draft.replace(target)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(error.errno, f"{error.strerror or error}; the windows stay not run", self.path) from error


@dataclass(frozen=True)
class PartReader:
    """Reads windows that are done from the parts.

    Attributes
    ----------
    path : str
        Folder of the parts.
    """

    path: str

    def __call__(self, window: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Variables of one window."""
        for begin, count, path in _files(Path(self.path)):
            if begin <= window < begin + count:
                with np.load(path) as part:
                    return {name: np.asarray(part[name][window - begin]) for name in names}
        raise StoreError(f"{self.path}: no part with window {window}")

    def is_noted(self, begin: int, end: int) -> bool:
        """Nobody knows: a part is there before the run has heard of it, and may still ask for it."""
        del begin, end
        return False
