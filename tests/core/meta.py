"""Objects on the meta device: it has no values, and refuses what reads one, or mixes it with another device."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch


def on_meta(*objects: Any) -> Any:
    """Return copies whose tensors are on the meta device."""

    def moved(tensor: torch.Tensor, _: Any) -> torch.Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "__deepcopy__", moved)
        patch.setitem(copy._deepcopy_dispatch, torch.device, lambda *_: torch.device("meta"))  # type: ignore[attr-defined]
        return copy.deepcopy(objects)
