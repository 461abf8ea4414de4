"""Where a run keeps its results, window by window: what kinds of stores have in common."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.runs.manifest import Manifest

FAILURES = "xvar_failures"
FEW = 8  # numbers of a window that are written by the run itself, for all batches that are done

Fields = Mapping[str, NDArray[Any]]


class StoreError(OSError):
    """Results could not be written: the disk is full, the folder is read-only, ..."""


@dataclass(frozen=True)
class WriteRecord:
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
    def reader(self) -> Any:
        """A callable (window, names) for the workers: variables of one window, as they are written."""

    @abstractmethod
    def commit(self, batches: Sequence[WriteRecord]) -> None:
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
