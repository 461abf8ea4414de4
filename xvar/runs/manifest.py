"""What a store holds the results of: configuration, input, versions. A resumed run adds nothing else to it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import xarray as xr

from xvar.plan.experiment.table import is_table

ATTRIBUTE = "xvar_manifest"
SAMPLED_FRAMES = 8
PACKAGES = ("xvar", "torch", "numpy", "xarray", "dask")
# What does not change a result: who computes it, and how many windows at once.
_WITHOUT_EFFECT = frozenset({"batch", "device", "errors"})


@dataclass(frozen=True)
class Manifest:
    """Identity of a run.

    Attributes
    ----------
    configuration : mapping
        Options that change results, in plain words and hashes.
    input : mapping
        Sizes of the record and hashes of its coordinates and values.
    versions : mapping
        Of the packages.
    windows, batch : int
        Windows in all and of a task.
    """

    configuration: Mapping[str, Any]
    input: Mapping[str, Any]
    versions: Mapping[str, str]
    windows: int
    batch: int

    def to_json(self) -> str:
        """For an attribute or a file."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """From an attribute or a file."""
        return cls(**json.loads(text))

    def differences(self, other: Manifest) -> list[str]:
        """What makes the results of two runs differ, in words; `other` is the one that runs now."""
        found: list[str] = []
        for part, then, now in (
            ("configuration", self.configuration, other.configuration),
            ("input", self.input, other.input),
            ("version", {k: self.versions.get(k) for k in ("xvar",)}, {k: other.versions.get(k) for k in ("xvar",)}),
        ):
            found += [
                f"{part} {key}: {_short(then.get(key))} in the store, {_short(now.get(key))} now"
                for key in sorted({*then, *now})
                if then.get(key) != now.get(key)
            ]
        if self.windows != other.windows:
            found.append(f"windows: {self.windows} in the store, {other.windows} now")
        return found


def make_manifest(
    record: xr.Dataset | xr.DataArray, analysis: xr.Dataset, options: Mapping[str, Any], batch: int
) -> Manifest:
    """The manifest of a run.

    Parameters
    ----------
    record : Dataset or DataArray
        The input. A few frames of it are read.
    analysis : Dataset
        What `assimilate` gives, not computed.
    options : mapping
        Of the call.
    batch : int
        Windows of a task.
    """
    plain = json.loads(analysis.attrs.get("xvar_configuration", "{}"))
    configuration = {key: value for key, value in plain.items() if key not in _WITHOUT_EFFECT}
    stated = {
        key: identity(value) for key, value in options.items() if key not in _WITHOUT_EFFECT and value is not None
    }
    configuration |= {f"{key}=": value for key, value in stated.items() if key not in configuration}
    configuration["times of the windows"] = digest(analysis["time"].values)
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    # By way of JSON, so that what is compared is what was written.
    return Manifest.from_json(
        Manifest(
            configuration, input_identity(record, plain.get("variable")), versions, analysis.sizes["window"], batch
        ).to_json()
    )


def input_identity(record: xr.Dataset | xr.DataArray, name: str | None) -> dict[str, Any]:
    """Sizes and hashes of a record: of its coordinates, and of some of its frames, spread over it.

    To read years of data only to know them again would cost a pass over all of it; what is edited between the frames
    that are looked at is not found.
    """
    if is_table(record):
        return {"sizes": {str(dim): size for dim, size in record.sizes.items()}, **identity(record)}
    array = record
    if isinstance(record, xr.Dataset):
        array = record.get(name, record)
    result: dict[str, Any] = {"sizes": {str(dim): size for dim, size in array.sizes.items()}}
    for key, coordinate in sorted(array.coords.items(), key=lambda item: str(item[0])):
        result[f"coordinate {key}"] = digest(coordinate.values)
    if isinstance(array, xr.DataArray):
        result["type"] = str(array.dtype)
        result["units"] = str(array.attrs.get("units"))
        longest = max(array.dims, key=lambda dim: (dim in ("time", "t"), array.sizes[dim]))
        places = np.unique(np.linspace(0, array.sizes[longest] - 1, SAMPLED_FRAMES).astype(int))
        result["values"] = digest(array.isel({longest: places}).values)
    return result


def identity(value: Any) -> Any:
    """An option as it can be written and compared: plain values as they are, arrays and weights by their hash."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.generic, np.ndarray)):
        return digest(np.asarray(value))
    if isinstance(value, (xr.DataArray, xr.Variable)):
        return digest(value.values)
    if isinstance(value, xr.Dataset):
        return {str(name): digest(part.values) for name, part in value.variables.items()}
    if isinstance(value, Mapping):
        return {str(key): identity(part) for key, part in value.items()}
    if isinstance(value, Sequence):
        return [identity(part) for part in value]
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": name} | {f.name: identity(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "state_dict"):  # a torch module: its weights
        weights = {key: digest(np.asarray(part.detach().cpu())) for key, part in value.state_dict().items()}
        return {"type": name, **weights}
    if hasattr(value, "detach"):
        return digest(np.asarray(value.detach().cpu()))
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    text = str(value)
    return {"type": name} | (
        {"value": text} if " at 0x" not in text else {k: identity(v) for k, v in vars(value).items()}
    )


def digest(values: np.ndarray[Any, Any]) -> str:
    """A hash of an array: its type, shape and bytes."""
    if values.dtype == object:
        content = "\n".join(str(value) for value in values.ravel()).encode()
    else:
        content = np.ascontiguousarray(values).tobytes()
    head = f"{values.dtype.str} {values.shape} ".encode()
    return hashlib.sha256(head + content).hexdigest()[:32]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
