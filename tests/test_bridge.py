"""Arrays that come from anywhere become tensors, and the bits of a window do not show where they came from."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

import xvar  # noqa: F401  (the accessor)
from tests.runs.records import OPTIONS, shower
from xvar.bridge import to_tensor

CACHE_LINE = 64  # bytes


def shifted(values: np.ndarray, offset: int) -> np.ndarray:
    """The values, read-only and `offset` bytes behind the beginning of a cache line, as messages bring them."""
    buffer = np.empty(values.nbytes + 2 * CACHE_LINE, np.uint8)
    begin = -buffer.ctypes.data % CACHE_LINE + offset
    buffer[begin : begin + values.nbytes] = np.frombuffer(values.tobytes(), np.uint8)
    found = np.frombuffer(buffer, values.dtype, values.size, begin).reshape(values.shape)
    found.flags.writeable = False
    return found


@pytest.mark.parametrize("offset", [0, 1, 4, 8, 16, 40])
@pytest.mark.parametrize("given", ["<f4", ">f4", "<f8", "<i2"])
def test_a_tensor_begins_at_a_cache_line(given: str, offset: int) -> None:
    values = np.arange(60).reshape(3, 4, 5).astype(given)
    for view in (shifted(values, offset), shifted(values, offset)[:, ::-1], shifted(values, offset)[..., 1:]):
        for dtype in ("float32", "float64"):
            tensor = to_tensor(view, dtype=dtype, device=None)
            assert tensor.data_ptr() % CACHE_LINE == 0
            assert tensor.is_contiguous()
            assert torch.equal(tensor, torch.tensor(view.tolist(), dtype=getattr(torch, dtype)))


def test_the_bits_do_not_depend_on_where_the_frames_lie() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    record = shower(7)
    found = set()
    for offset in (0, 1, 4, 8, 12, 16, 24, 32, 48, 60):
        moved = record.assign(rain=record["rain"].copy(data=shifted(record["rain"].values, offset)))
        analysis = moved.var4d.assimilate(**OPTIONS)
        numbers = (analysis[name].values.tobytes() for name in ("u", "v", "rain", "cost"))
        found.add(hashlib.sha256(b"".join(numbers)).hexdigest())
    torch.set_num_threads(before)
    assert len(found) == 1
