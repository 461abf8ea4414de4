"""Errors of damaged bytes in an analysis, which its file reports only when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from xvar.errors import InputError
from xvar.io.formats import first_line


def report_damage(dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """Return an analysis whose lazy variables raise InputError, with the path and the fix, if their bytes are damaged.

    Any other dataset is returned as it is.
    """
    if "window" not in dataset.dims or "status" not in dataset:
        return dataset
    result = dataset.copy()
    for name, part in dataset.variables.items():
        if not isinstance(part, xr.IndexVariable):
            data = indexing.LazilyIndexedArray(_Reader(part, str(name), path))
            result[name] = xr.Variable(part.dims, data, part.attrs, part.encoding)
    result.set_close(dataset.close)
    return result


@dataclass
class _Reader(BackendArray):
    """Values of a variable of a file, read when they are needed."""

    variable: xr.Variable
    name: str
    path: Path

    def __post_init__(self) -> None:
        self.shape, self.dtype = self.variable.shape, self.variable.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        try:
            return self.variable[key].values
        except Exception as error:  # zarr, numcodecs and HDF5 raise what they like at damaged bytes
            raise InputError(
                code="damaged-analysis",
                variable=self.name,
                found=f"{self.path}, which cannot be read there: {first_line(error)}",
                expected="the bytes that were written",
                fix="start its run again, which solves damaged windows again: the same xvar assimilate, or xvar.run",
            ) from error
