"""Results of a run in a Zarr store, which can be read at any time."""

from __future__ import annotations

import json
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.errors import Fault, InputError, Status
from xvar.runs.manifest import ATTRIBUTE, Manifest
from xvar.runs.store import (
    FAILURES,
    Fields,
    Store,
    StoreError,
    WriteRecord,
    few_numbers,
    nothing_run,
    per_window,
    remove,
    replace,
)

NUMBERS_OF_CHUNK = 4096  # windows of a chunk of what has one number a window


class ZarrStore(Store):
    """Results in a Zarr store, which can be read at any time: windows that were not run say so.

    A store that replaces another grows beside it, under ``.NAME.new``, until it is complete.
    """

    def __init__(self, path: Path, *, zarr_format: int | None = None) -> None:
        super().__init__(path)
        try:
            import zarr
        except ImportError as error:
            raise InputError(
                Fault(f"{str(path)!r} without the package zarr", "zarr", "pip install 'xvar[zarr]', or a name in .nc")
            ) from error
        formats = (2, 3) if hasattr(zarr, "config") else (2,)
        if zarr_format not in (None, *formats):
            found, words = f"zarr_format={zarr_format} with zarr {zarr.__version__}", " or ".join(map(str, formats))
            raise InputError(Fault(found, words, "zarr_format=2, or pip install -U zarr"))
        self.zarr_format = zarr_format
        self.new = path.with_name(f".{path.name}.new")
        self.instead = False  # whether the new store takes the place of another
        self._arrays: dict[str, Any] = {}

    @property
    def place(self) -> Path:  # noqa: D102  (see Store)
        return self.new if self.instead else self.path

    @property
    def is_finished(self) -> bool:  # noqa: D102  (see Store)
        return not self.instead

    def manifest(self) -> Manifest | None:  # noqa: D102  (see Store)
        text = _attributes(self.place).get(ATTRIBUTE)
        return None if text is None else Manifest.from_json(text)

    def create(self, analysis: xr.Dataset, manifest: Manifest) -> None:  # noqa: D102  (see Store)
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

    def resume(self) -> None:  # noqa: D102  (see Store)
        for partial in self.place.rglob("*.partial"):
            partial.unlink(missing_ok=True)

    def writer(self) -> ZarrWriter:  # noqa: D102  (see Store)
        return ZarrWriter(str(self.place))

    def reader(self) -> ZarrReader:  # noqa: D102  (see Store)
        return ZarrReader(str(self.place))

    def commit(self, batches: Sequence[WriteRecord]) -> None:  # noqa: D102  (see Store)
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
        known = json.loads(str(group.attrs.get(FAILURES, "{}")))
        group.attrs[FAILURES] = json.dumps(known | {str(window): reason for window, reason in reasons.items()})

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = _open(self.place, name)
        return self._arrays[name]

    def status(self) -> NDArray[np.int8]:  # noqa: D102  (see Store)
        return np.asarray(_open(self.place, "status", mode="r")[:])

    def failures(self) -> dict[int, str]:  # noqa: D102  (see Store)
        return {
            int(window): reason for window, reason in json.loads(_attributes(self.place).get(FAILURES, "{}")).items()
        }

    def finish(self, analysis: xr.Dataset) -> None:  # noqa: ARG002, D102  (see Store)
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
        del numbers, failures
        try:
            for name, values in fields.items():
                array = _open(Path(self.path), name)
                end, size = begin + len(values), array.chunks[0]
                if not alone and (begin % size or (end % size and end != array.shape[0])):
                    raise InputError(
                        Fault(
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


@dataclass(frozen=True)
class ZarrReader:
    """Reads windows of a Zarr store that are done.

    Attributes
    ----------
    path : str
        The store.
    """

    path: str

    def __call__(self, window: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Variables of one window."""
        return {name: np.asarray(_open(Path(self.path), name, mode="r")[window]) for name in names}

    def is_noted(self, begin: int, end: int) -> bool:
        """Whether the run has noted windows as done, and asks for them no more."""
        return bool((_open(Path(self.path), "status", mode="r")[begin:end] != Status.NOT_RUN).all())


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
