"""Checkpoints of a training, from which it resumes with the same bits: arrays and JSON, without pickles."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xvar.errors import Fault, InputError
from xvar.io.writing import disk_errors, durable, refuse_missing_folder
from xvar.learning.windows import Windows
from xvar.runs.identity import Identity

_NAMED = 4  # differences in a message


def identity_of(windows: Windows, settings: Mapping[str, object]) -> dict[str, str]:
    """Return digests of what the bits of a training depend on, by part; `settings` are those of `learn`.

    Of the frames those of the first window are compared, and the times of all.
    """
    identity = Identity()
    block = np.asarray(windows.record.array.data[windows.plan.schedule.frames[0].clip(min=0)])
    found = identity.parts(windows.plan.solver, "solver") | {
        "times of the record": identity.digest(windows.record.times.seconds, "times").hex(),
        "frames of the first window": identity.digest(block, "frames").hex(),
        **{name: identity.digest(value, name).hex() for name, value in settings.items()},
    }
    return {**found, "code": hashlib.blake2b(b"".join(identity.code), digest_size=16).hexdigest()}


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    tensors: list[torch.Tensor] = []
    text = json.dumps(_encoded(dict(state), tensors)).encode()
    arrays = {f"{number}": _bytes(tensor) for number, tensor in enumerate(tensors)}
    with disk_errors(path, "the checkpoint before it is kept"), durable(path) as file:
        np.savez(file, state=np.frombuffer(text, np.uint8), **arrays)


def load(path: Path, identity: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the checkpoint at a path, None if there is none; InputError if it is damaged or of another training."""
    refuse_missing_folder(path)
    if not path.exists():
        return None
    fix = "another name of the checkpoint, or remove the file"
    try:
        with disk_errors(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            state: dict[str, Any] = _decoded(json.loads(arrays["state"].tobytes()), arrays)
        then = dict(state["identity"])
    except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
        expected = "a checkpoint of xvar.learn"
        found = f"checkpoint {str(path)!r}, which cannot be read: {' '.join(str(error).split())[:200]}"
        raise InputError(Fault(found, expected, fix, code="checkpoint-unreadable")) from error
    differing = sorted(name for name in {*then, *identity} if then.get(name) != identity.get(name))
    if differing:
        rest = f", and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        found = f"checkpoint {str(path)!r} of another training; different: {', '.join(differing[:_NAMED])}{rest}"
        expected = "the checkpoint of a training with the same record, options and first weights"
        raise InputError(Fault(found, expected, fix, code="checkpoint-of-another-training"))
    return state


def _encoded(value: Any, tensors: list[torch.Tensor]) -> Any:
    """Return nested values as JSON has them; tensors are appended to a list, and their places stand in the JSON."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return {"tensor": len(tensors) - 1, "dtype": str(value.dtype).removeprefix("torch."), "shape": [*value.shape]}
    if isinstance(value, Mapping):
        return {"mapping": [[key, _encoded(part, tensors)] for key, part in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_encoded(part, tensors) for part in value]}
    return value


def _decoded(value: Any, arrays: Mapping[str, Any]) -> Any:
    """Return what `_encoded` was given."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        dtype = getattr(torch, value["dtype"])
        return torch.from_numpy(arrays[str(value["tensor"])].copy()).view(dtype).reshape(value["shape"])
    if "mapping" in value:
        return {key: _decoded(part, arrays) for key, part in value["mapping"]}
    ((kind, parts),) = value.items()
    return {"list": list, "tuple": tuple}[kind](_decoded(part, arrays) for part in parts)


def _bytes(tensor: torch.Tensor) -> Any:
    """Return the bytes of a tensor of any type."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
