"""Calls that wait for a device, counted on the CPU: there they cost nothing, and so nobody would see them."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

#: Operations whose result is a number on the host, or has a shape that depends on values.
WAITING = {
    "aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero", "aten::nonzero", "aten::masked_select",
    "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::repeat_interleave", "aten::bincount",
    "aten::_linalg_eigh", "aten::allclose",
}  # fmt: skip
#: Operations that take a mask as an index, whose shape depends on values.
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
#: Functions that copy between host and device, unless `non_blocking`.
COPYING = {"torch.Tensor.tolist", "torch.Tensor.cpu"}
MAKING = {"torch.Tensor.new_tensor", "torch.tensor", "torch.as_tensor"}  # tensors of numbers of the host


class Synchronisations:
    """Context that counts waiting calls, by the line of the package that made them."""

    def __init__(self) -> None:
        self.places: Counter[str] = Counter()
        self._modes: tuple[Any, Any] = (_Operations(self._note), _Functions(self._note))

    @property
    def count(self) -> int:
        """Return the number of calls so far."""
        return sum(self.places.values())

    def _note(self, name: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if f"{Path('/xvar/')}" in frame.filename]
        place = f"{frames[-1].filename.rpartition('xvar/')[2]}:{frames[-1].lineno}" if frames else "elsewhere"
        self.places[f"{place} {name}"] += 1

    def __enter__(self) -> Synchronisations:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(kind, error, trace)


class _Operations(TorchDispatchMode):
    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition(".")[0]
        masks = [
            part for part in (args[1] if name in INDEXING else ()) if part is not None and part.dtype == torch.bool
        ]
        # A number for the places of one mask needs no index.
        filled = "put" in name and len(masks) == 1 and args[2].numel() == 1
        if name in WAITING or (masks and not filled):
            self._note(name)
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = resolve_name(func) or getattr(func, "__name__", ""), kwargs or {}
        made = name in MAKING and (name.endswith("new_tensor") or kwargs.get("device") is not None)
        listed = name in ("torch.Tensor.__getitem__", "torch.Tensor.__setitem__") and _has_list(args[1])
        moved = name == "torch.Tensor.to" and not kwargs.get("non_blocking") and _has_device(args[1:], kwargs)
        if name in COPYING or made or listed or moved:
            self._note(name)
        return func(*args, **kwargs)


def _has_list(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, list) for part in parts)


def _has_device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether `Tensor.to` is asked for a device by its name, or for the one of a tensor of the host."""
    return "device" in kwargs or any(isinstance(part, (str, torch.device)) for part in args)
