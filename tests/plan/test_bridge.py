"""Arrays that come from anywhere become tensors, and the bits of a window do not show where they came from."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

import xvar
from tests.faults.images import warm
from tests.runs.records import OPTIONS, shower
from xvar.plan.bridge import to_tensor

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


@pytest.mark.filterwarnings("ignore::xvar.errors.AnalysisWarning")
@pytest.mark.parametrize("down", [False, True])
def test_what_is_saved_of_a_stated_problem_adds_up(down: bool) -> None:
    record = warm().isel(y=slice(None, None, -1 if down else 1))
    first = record.isel(time=0, drop=True)
    result = record.var4d.assimilate(
        dynamics="advection",
        background=first,
        background_error={"velocity": xvar.covariance.Matern(std=5.0, length=6e3)},
        save=("increment", "innovation", "residual"),
        dtype="float64",
    ).isel(window=0)
    np.testing.assert_allclose(result["sst"] + result["sst_residual"], record["sst"].values, atol=1e-9)
    begin = result.isel(step=0)
    np.testing.assert_allclose(begin["sst"] - result["sst_increment"], first["sst"].values, atol=1e-9)
    for name in ("u", "v"):  # the background is at rest, and stays as it is
        np.testing.assert_array_equal(begin[name], result[f"{name}_increment"])
    np.testing.assert_allclose(result["sst_innovation"], (record["sst"] - first["sst"]).values, atol=1e-9)


@pytest.mark.filterwarnings("ignore::xvar.errors.AnalysisWarning")
def test_images_of_any_kind_go_on_from_the_motion_of_the_window_before() -> None:
    record = warm(9).rename(sst="height")
    record["height"].attrs["units"] = "m"
    result = record.var4d.assimilate(background="cycled")
    np.testing.assert_array_equal(result["background_source"], [0] + [1] * (result.sizes["window"] - 1))
    for name in ("u", "v"):
        np.testing.assert_array_equal(result[f"{name}_background"][1], result[name][0, -1])
