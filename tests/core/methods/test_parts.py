"""First guess of a motion where parts of the images move differently."""

from __future__ import annotations

import pytest
import torch

from benchmarks.twins import rain_of
from tests.core.methods.test_correlation import SECONDS, moving
from xvar.core.grid import Grid
from xvar.core.methods.correlation import displacement
from xvar.core.methods.image_motion import ImageMotion
from xvar.core.methods.parts import local_displacement
from xvar.errors import Status


def halves(left: tuple[int, int], right: tuple[int, int]) -> torch.Tensor:
    """Images of which the halves move by other cells in a frame."""
    one, other = moving(left, size=128), moving(right, seed=1, size=128)
    return torch.cat([one[..., :64], other[..., 64:]], dim=-1)


@pytest.mark.parametrize(("left", "right"), [((5, 0), (-5, 0)), ((9, 3), (-2, -6)), ((0, 9), (9, 0))])
def test_halves_that_move_differently_have_their_own_motions(left: tuple[int, int], right: tuple[int, int]) -> None:
    images = halves(left, right)
    results = ImageMotion().analyse(images, SECONDS, Grid((128, 128), (1000.0, 1000.0)))
    assert results["status"].tolist() == [int(Status.CONVERGED)]
    velocity = torch.stack([results["u"][0, -1], results["v"][0, -1]]) * 300 / 1000
    for side, cells in ((slice(24, 56), left), (slice(72, 104), right)):
        expected = torch.tensor(cells, dtype=torch.float64)[:, None, None]
        error = torch.linalg.vector_norm(velocity[:, 24:-24, side] - expected, dim=0).mean()
        assert error < 0.03 * torch.linalg.vector_norm(expected)


def test_the_first_guess_is_uniform_unless_parts_move_differently() -> None:
    images = torch.cat([moving((6, -3), size=128), halves((5, 0), (-5, 0))])
    images[0, 1, 30:60, 10:90] = torch.nan
    found = displacement(images, SECONDS, 300.0)
    guess = local_displacement(images, SECONDS, 300.0, found.cells)
    assert guess[0].flatten(1).unique(dim=1).tolist() == [[6.0], [-3.0]]
    assert torch.allclose(guess[1, 0, :, :56], torch.tensor(5.0, dtype=guess.dtype), atol=0.02)
    assert torch.allclose(guess[1, 0, :, 72:], torch.tensor(-5.0, dtype=guess.dtype), atol=0.02)
    alone = local_displacement(images[1:], SECONDS, 300.0, found.cells[1:])
    assert torch.equal(alone[0], guess[1])
    gap = local_displacement(images[1:, [0, 2]], [0.0, 600.0], 300.0, found.cells[1:])
    assert gap.flatten(2).unique(dim=2).shape[-1] == 1


def test_the_first_guess_of_a_rotation_is_uniform() -> None:
    images = rain_of("rotation, 0.05 a frame", 0)["rain"].values.astype("float64") ** 0.5
    sequence = torch.from_numpy(images)[None]
    found = displacement(sequence, SECONDS, 300.0)
    guess = local_displacement(sequence, SECONDS, 300.0, found.cells)
    assert guess.flatten(2).unique(dim=2).shape[-1] == 1


@pytest.mark.parametrize(
    ("left", "right"), [((5.0, 0.0), (8.0, 0.0)), ((4.0, 2.0), (4.0, 5.0)), ((6.0, -2.0), (4.0, -4.0))]
)
def test_halves_of_large_cells_with_similar_motions_have_their_own(
    left: tuple[float, float], right: tuple[float, float]
) -> None:
    """Cells of 24 pixels, at which a correlation hardly differs between motions that differ by 3 pixels a frame."""
    images = torch.cat([large(left, seed=0)[..., :80], large(right, seed=1)[..., 80:]], dim=-1)
    results = ImageMotion().analyse(images, SECONDS, Grid((160, 160), (1000.0, 1000.0)))
    velocity = torch.stack([results["u"][0, -1], results["v"][0, -1]]) * 300 / 1000
    for side, cells in ((slice(24, 56), left), (slice(104, 136), right)):
        expected = torch.tensor(cells, dtype=torch.float64)[:, None, None]
        error = torch.linalg.vector_norm(velocity[:, 24:-24, side] - expected, dim=0).mean()
        assert error < 0.03 * torch.linalg.vector_norm(expected)


def large(cells: tuple[float, float], seed: int, size: int = 160) -> torch.Tensor:
    """Images (1, frame, y, x) of a smooth random pattern that moves by fractions of a cell."""
    generator, total = torch.Generator().manual_seed(seed), size + 96
    y, x = torch.fft.fftfreq(total, dtype=torch.float64)[:, None], torch.fft.fftfreq(total, dtype=torch.float64)
    noise = torch.fft.fft2(torch.randn(total, total, generator=generator, dtype=torch.float64))
    spectrum = noise * torch.exp(-0.5 * (2 * torch.pi * 9.6) ** 2 * (x**2 + y**2))
    shifts = (torch.exp(-2j * torch.pi * frame * (x * cells[0] + y * cells[1])) for frame in range(len(SECONDS)))
    images = torch.stack([torch.fft.ifft2(spectrum * shift).real for shift in shifts])
    return (images / images.std())[None, :, 48:-48, 48:-48]
