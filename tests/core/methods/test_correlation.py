"""First guess of a motion by cross-correlation."""

from __future__ import annotations

import pytest
import torch

from xvar.core.grid import Grid
from xvar.core.methods.correlation import displacement
from xvar.core.methods.image_motion import ImageMotion
from xvar.core.methods.image_problems import Smoothness
from xvar.errors import Status

SECONDS = [0.0, 300.0, 600.0]


def moving(cells: tuple[int, int], seed: int = 0, size: int = 96) -> torch.Tensor:
    """Images (1, frame, y, x) of a random pattern that moves by whole cells, cut from a larger one."""
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.randn(3 * size, 3 * size, generator=generator, dtype=torch.float64)
    pattern = torch.nn.functional.avg_pool2d(pattern[None, None], 5, stride=1, padding=2)[0, 0]
    shifts = ((size - frame * cells[1], size - frame * cells[0]) for frame in range(len(SECONDS)))
    return torch.stack([pattern[y : y + size, x : x + size] for y, x in shifts])[None]


@pytest.mark.parametrize("cells", [(0, 0), (3, -2), (-14, 9), (20, 20), (31, 0)])
def test_whole_displacements_are_found(cells: tuple[int, int]) -> None:
    found = displacement(moving(cells), SECONDS, 300.0)
    assert found.cells.tolist() == [list(map(float, cells))]
    assert 0 < float(found.peak) <= 1
    assert not bool(found.has_rival)


def test_holes_and_dry_windows_have_an_answer() -> None:
    images = moving((5, -4))
    images[:, 1, 20:50, 10:60] = torch.nan
    assert displacement(images, SECONDS, 300.0).cells.tolist() == [[5.0, -4.0]]
    for still in (torch.zeros(1, 3, 40, 40), torch.full((1, 3, 40, 40), torch.nan)):
        found = displacement(still, SECONDS, 300.0)
        assert found.cells.tolist() == [[0.0, 0.0]]
        assert not bool(found.has_rival)


def test_frames_that_are_missing_between_others_are_no_pair() -> None:
    images = moving((6, 3))
    assert displacement(images[:, [0, 2]], [0.0, 600.0], 300.0).cells.tolist() == [[0.0, 0.0]]


def test_a_periodic_pattern_has_rivals() -> None:
    x = torch.arange(128, dtype=torch.float64)
    images = torch.stack([torch.sin(2 * torch.pi * (x - 4 * frame) / 8).expand(128, 128) for frame in range(3)])[None]
    assert bool(displacement(images, SECONDS, 300.0).has_rival)


def test_a_window_has_the_bits_that_it_has_alone() -> None:
    images = torch.cat([moving((2, 1), seed) for seed in range(4)])
    together = displacement(images, SECONDS, 300.0)
    for window in range(4):
        alone = displacement(images[window : window + 1], SECONDS, 300.0)
        assert torch.equal(alone.peak[0], together.peak[window])
        assert torch.equal(alone.cells[0], together.cells[window])


def test_a_motion_that_explains_nothing_is_ambiguous() -> None:
    """A prior that holds the motion at a wrong guess: of more than half a cell in a frame it is ambiguous."""
    images, grid = torch.cat([moving((0, 0)), moving((10, 0))]), Grid((96, 96), (1000.0, 1000.0))
    method = ImageMotion(steady=Smoothness(1e6, 1e6, mean=1e-4))
    for cells, expected in ((10.0, [Status.AMBIGUOUS, Status.CONVERGED]), (0.2, [Status.CONVERGED] * 2)):
        guess = torch.tensor([cells * 1000 / 300, 0.0], dtype=images.dtype)[None, :, None, None].expand(2, 2, 96, 96)
        results = method.analyse(images, SECONDS, grid, guess)
        assert results["status"].tolist() == [int(status) for status in expected]
        if cells == 10.0:
            assert (results["motion_skill"][0, :2] < 0).all()
            assert (results["motion_skill"][1, :2] > 0.9).all()
            assert results["motion_skill"][:, 2].isnan().all()


def test_a_window_with_a_rival_is_ambiguous() -> None:
    x = torch.arange(96, dtype=torch.float64)
    wave = torch.stack([torch.sin(2 * torch.pi * (x - 4 * frame) / 8).expand(96, 96) for frame in range(3)])
    images = torch.stack([wave, moving((3, 1))[0]])
    results = ImageMotion().analyse(images, SECONDS, Grid((96, 96), (1000.0, 1000.0)))
    assert results["status"].tolist() == [int(Status.AMBIGUOUS), int(Status.CONVERGED)]
    steady = torch.stack([results["u"][1, -1].mean(), results["v"][1, -1].mean()]) * 300 / 1000
    assert (steady - torch.tensor([3.0, 1.0])).abs().max() < 0.1
