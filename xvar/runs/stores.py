"""Where a run keeps its results: in a Zarr store, or in parts that become a NetCDF file in the end."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import InputError, Problem
from xvar.runs.manifest import ATTRIBUTE, Manifest
from xvar.runs.report import NOT_RUN

FAILURES = "xvar_failures"
NUMBERS_OF_CHUNK = 4096  # windows of a chunk of what has one number a window
FEW = 8  # numbers of a window that are written by the run itself, for all batches that are done

Fields = Mapping[str, NDArray[Any]]


class StoreError(OSError):
    """Results could not be written: the disk is full, the folder is read-only, ..."""


@dataclass(frozen=True)
class Written:
    """What a batch reports when its fields are in the store.

    Attributes
    ----------
    begin : int
        Its first window.
    numbers : mapping of str to ndarray (window, ...)
        Variables with few numbers a window; ``status`` is among them.
    failures : mapping of int to str
        Windows that failed, and why.
    """

    begin: int
    numbers: Fields
    failures: Mapping[int, str] = field(default_factory=dict)


class Store(ABC):
    """Results of a run, window by window.

    Fields are written by the workers, the status of their windows by the run itself, and only after them: a window
    whose status says that it was run is complete.

    Parameters
    ----------
    path : Path
        Where they are to be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def place(self) -> Path:
        """Where results are written now."""

    @property
    @abstractmethod
    def is_finished(self) -> bool:
        """Whether results have their name, and nothing is on its way to replace them."""

    @abstractmethod
    def manifest(self) -> Manifest | None:
        """Of what is there; None where nothing is, or nothing of ours."""

    @abstractmethod
    def create(self, analysis: xr.Dataset, manifest: Manifest) -> None:
        """Begin a run."""

    @abstractmethod
    def resume(self) -> None:
        """Go on with a run: remove what a killed one left half-written."""

    @abstractmethod
    def writer(self) -> Any:
        """A callable (begin, fields, numbers, failures, alone) for the workers."""

    @abstractmethod
    def commit(self, batches: Sequence[Written]) -> None:
        """Note that the fields of batches are there."""

    @abstractmethod
    def status(self) -> NDArray[np.int8]:
        """Status of each window."""

    @abstractmethod
    def failures(self) -> dict[int, str]:
        """Why windows failed."""

    @abstractmethod
    def finish(self, analysis: xr.Dataset) -> None:
        """Give the complete results their name."""


def per_window(analysis: xr.Dataset) -> list[str]:
    """Variables that are computed."""
    return [str(name) for name, part in analysis.data_vars.items() if part.chunks is not None]


def few_numbers(part: xr.DataArray) -> bool:
    """Whether a variable has but a few numbers a window."""
    return part.size <= FEW * part.sizes["window"]


def nothing_run(part: xr.DataArray) -> float:
    """What stands where a window was not run."""
    return np.nan if part.dtype.kind == "f" else 0


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace(new: Path, old: Path) -> None:
    """Put a complete store in the place of another."""
    if old.exists():
        former = old.with_name(f".{old.name}.former")
        remove(former)
        old.replace(former)
        new.replace(old)
        remove(former)
    else:
        new.replace(old)


def flush(path: Path) -> None:
    """Bring a file to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- Zarr ---


class ZarrStore(Store):
    """Results in a Zarr store, which can be read at any time: windows that were not run say so.

    A store that replaces another grows beside it, under ``.NAME.new``, until it is complete.
    """

    def __init__(self, path: Path, *, zarr_format: int | None = None) -> None:
        super().__init__(path)
        try:
            import zarr  # noqa: F401
        except ImportError as error:
            raise InputError(
                Problem(f"{str(path)!r} without the package zarr", "zarr", "pip install 'xvar[zarr]', or a name in .nc")
            ) from error
        self.zarr_format = zarr_format
        self.new = path.with_name(f".{path.name}.new")
        self.instead = False  # whether the new store takes the place of another
        self._arrays: dict[str, Any] = {}

    @property
    def place(self) -> Path:
        return self.new if self.instead else self.path

    @property
    def is_finished(self) -> bool:
        return not self.instead

    def manifest(self) -> Manifest | None:
        text = _attributes(self.place).get(ATTRIBUTE)
        return None if text is None else Manifest.from_json(text)

    def create(self, analysis: xr.Dataset, manifest: Manifest) -> None:
        import dask.array
        import zarr

        draft = self.path.with_name(f".{self.path.name}.draft")
        remove(draft)
        version = self.zarr_format or int(zarr.config.get("default_zarr_format", 2) if hasattr(zarr, "config") else 2)
        template = analysis.copy()
        encoding: dict[Hashable, dict[str, Any]] = {}
        for name in per_window(analysis):
            part = analysis[name]
            rows = NUMBERS_OF_CHUNK if few_numbers(part) else manifest.batch
            rows = min(rows, part.sizes["window"])
            empty = dask.array.full(part.shape, nothing_run(part), dtype=part.dtype, chunks=(rows, *part.shape[1:]))
            template[name] = part.copy(data=empty)
            template[name].encoding = dict(part.encoding)
            encoding[name] = {**part.encoding, "chunks": (rows, *part.shape[1:])}
            if version == 3:  # xarray reads the mask from _FillValue, and zarr what was not written from fill_value
                encoding[name]["fill_value"] = nothing_run(part)
        template.attrs = {**analysis.attrs, ATTRIBUTE: manifest.to_json(), FAILURES: "{}"}
        word = "zarr_format" if hasattr(zarr, "config") else "zarr_version"
        kwargs: dict[str, Any] = {word: version}
        with warnings.catch_warnings():
            # Xarray warns where metadata are not consolidated, and zarr where those of format 3 are.
            warnings.filterwarnings("ignore", "Consolidated metadata is currently not part", UserWarning)
            template.to_zarr(draft, mode="w", compute=False, encoding=encoding, consolidated=True, **kwargs)
        for name in per_window(analysis):
            self._check_fill(draft, name, nothing_run(analysis[name]), version)
        replace(draft, self.place)

    @staticmethod
    def _check_fill(draft: Path, name: str, fill: float, version: int) -> None:
        """A version of xarray that sets no fill value would let windows that were not run read as zero."""
        array = _open(draft, name)
        have = array.fill_value
        if have is None and fill == 0 and version == 2:
            # Format 2 has the fill value in the place of the mask, and zero is not missing: it is written.
            array[:] = 0
        elif have is None or not (np.isnan(have) if np.isnan(fill) else have == fill):
            raise StoreError(f"{draft}: {name} has the fill value {have}, not {fill}; a newer xarray sets it")

    def resume(self) -> None:
        for partial in self.place.rglob("*.partial"):
            partial.unlink(missing_ok=True)

    def writer(self) -> ZarrWriter:
        return ZarrWriter(str(self.place))

    def commit(self, batches: Sequence[Written]) -> None:
        if not batches:
            return
        begin = min(batch.begin for batch in batches)
        end = max(batch.begin + len(batch.numbers["status"]) for batch in batches)
        names = [name for name in batches[0].numbers if name != "status"]
        reasons = {window: reason for batch in batches for window, reason in batch.failures.items()}
        try:
            if reasons:
                self._note(reasons)
            # The status comes last: it says that everything else is there.
            for name in [*names, "status"]:
                array = self._array(name)
                values = np.asarray(array[begin:end])
                for batch in batches:
                    if name in batch.numbers:
                        own = batch.numbers[name]
                        values[batch.begin - begin : batch.begin - begin + len(own)] = own
                array[begin:end] = values
        except OSError as error:
            raise StoreError(
                error.errno, f"{error.strerror or error}; the windows stay not run", str(self.place)
            ) from error

    def _note(self, reasons: Mapping[int, str]) -> None:
        import zarr

        group = zarr.open_group(str(self.place), mode="r+")
        known = json.loads(group.attrs.get(FAILURES, "{}"))
        group.attrs[FAILURES] = json.dumps(known | {str(window): reason for window, reason in reasons.items()})

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = _open(self.place, name)
        return self._arrays[name]

    def status(self) -> NDArray[np.int8]:
        return np.asarray(_open(self.place, "status", mode="r")[:])

    def failures(self) -> dict[int, str]:
        return {
            int(window): reason for window, reason in json.loads(_attributes(self.place).get(FAILURES, "{}")).items()
        }

    def finish(self, analysis: xr.Dataset) -> None:
        import zarr

        if (self.place / ".zmetadata").exists():
            zarr.consolidate_metadata(str(self.place))
        if self.instead:
            replace(self.new, self.path)
            self.instead = False
            self._arrays.clear()


@dataclass(frozen=True)
class ZarrWriter:
    """Writes the fields of a batch into its own chunks of a Zarr store.

    Attributes
    ----------
    path : str
        The store.
    """

    path: str

    def __call__(
        self, begin: int, fields: Fields, numbers: Fields, failures: Mapping[int, str], *, alone: bool = False
    ) -> None:
        """Write windows from `begin` on.

        Parameters
        ----------
        begin : int
            The first window.
        fields : mapping of str to ndarray (window, ...)
            What is written here.
        numbers, failures
            What the run itself writes.
        alone : bool
            Whether nobody else writes in the same chunks, so that a part of one may be written.

        Raises
        ------
        InputError
            Where the windows are not those of whole chunks: two writers of one chunk would undo each other's work.
        StoreError
            Where the disk refuses.
        """
        try:
            for name, values in fields.items():
                array = _open(Path(self.path), name)
                end, size = begin + len(values), array.chunks[0]
                if not alone and (begin % size or (end % size and end != array.shape[0])):
                    raise InputError(
                        Problem(
                            variable=name,
                            dimension="window",
                            found=f"windows {begin} to {end - 1}, which cut through chunks of {size}",
                            expected="whole chunks: two writers in one chunk would undo each other's work",
                            fix=f"begin and end at multiples of {size}",
                        )
                    )
                array[begin:end] = values
        except OSError as error:
            raise StoreError(error.errno, f"{error.strerror or error}; the windows stay not run", self.path) from error


def _open(store: Path, name: str, mode: Any = "r+") -> Any:
    import zarr

    return zarr.open_array(str(store), path=name, mode=mode)


def _attributes(store: Path) -> dict[str, Any]:
    """Attributes of a group, from the file that holds them: zarr 2 and 3 open groups by different words."""
    for name, inside in (("zarr.json", "attributes"), (".zattrs", None)):
        file = store / name
        if file.is_file():
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return content if inside is None else content.get(inside, {})
    return {}


# --- NetCDF ---


class NetCDFStore(Store):
    """Results in parts, one file a batch in the folder ``.NAME.parts``, which become one NetCDF file in the end.

    The file that may stand at the place stays until then: no reader ever finds half of the new one.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.parts = path.with_name(f".{path.name}.parts")

    @property
    def place(self) -> Path:
        return self.parts

    @property
    def is_finished(self) -> bool:
        return self.path.exists() and not self.parts.exists()

    def manifest(self) -> Manifest | None:
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

    def create(self, analysis: xr.Dataset, manifest: Manifest) -> None:
        remove(self.parts)
        draft = self.path.with_name(f".{self.path.name}.draft")
        remove(draft)
        draft.mkdir()
        (draft / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        draft.replace(self.parts)

    def resume(self) -> None:
        if self.parts.exists():
            for draft in self.parts.glob("*.draft"):
                draft.unlink(missing_ok=True)

    def writer(self) -> PartWriter:
        return PartWriter(str(self.parts))

    def commit(self, batches: Sequence[Written]) -> None:
        # The parts hold everything already, but for windows of which no worker lived to tell.
        for batch in batches:
            if not _part(self.parts, batch.begin, len(batch.numbers["status"])).exists():
                PartWriter(str(self.parts))(batch.begin, {}, batch.numbers, batch.failures)

    def _files(self) -> list[tuple[int, int, Path]]:
        found = (path.stem.split("-") + [path] for path in self.parts.glob("windows-*.npz"))
        return sorted((int(begin), int(count), path) for _, begin, count, path in found)

    def status(self) -> NDArray[np.int8]:
        if self.is_finished:
            with xr.open_dataset(self.path) as file:
                return np.asarray(file["status"].values, dtype=np.int8)
        manifest = self.manifest()
        status = np.full(0 if manifest is None else manifest.windows, NOT_RUN, np.int8)
        for begin, count, path in self._files():
            with np.load(path) as part:
                status[begin : begin + count] = part["status"]
        return status

    def failures(self) -> dict[int, str]:
        if self.is_finished:
            texts = [self._attrs().get(FAILURES, "{}")]
        else:
            texts = []
            for _, _, path in self._files():
                with np.load(path) as part:
                    texts.append(str(part["failures"]))
        return {int(window): reason for text in texts for window, reason in json.loads(text).items()}

    def finish(self, analysis: xr.Dataset) -> None:
        import dask

        files, windows = self._files(), analysis.sizes["window"]
        covered = [window for begin, count, _ in files for window in range(begin, begin + count)]
        if covered != list(range(windows)):
            missing = sorted(set(range(windows)) - set(covered))
            raise InputError(
                Problem(
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


def _joined(part: xr.DataArray, files: Sequence[tuple[int, int, Path]]) -> Any:
    """A variable from its parts, read when it is written."""
    import dask
    import dask.array

    pieces = [
        dask.array.from_delayed(
            dask.delayed(_load)(path, part.name, (count, *part.shape[1:]), part.dtype, nothing_run(part)),
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
