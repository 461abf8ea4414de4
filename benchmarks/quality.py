"""False rejections of quality control: pixels of good data that each rule takes for no observation.

Synthetic windows of 4 frames hold what good images have and rules may mistake: sharp fronts, fronts beside clouds, thin
bands and filaments, single-pixel cells, steps and eddies, steady and moving, without noise and with it. Real windows
are those of default length of every file of the test data.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SIZE, FRAMES, STRIDE = 96, 4, 3
ANGLES = (0.0, 90.0, 45.0, 30.0, 63.0)  # degrees of the normal to a front from y
SPEEDS = (0.0, 0.3, 0.5, 1.0, 2.5)  # cells in a frame, along the normal
DEVIATIONS = (0.0, 0.05)  # of the noise of a radiometer, in K
JUMP = 8.0  # K across a front


def distance(angle: float, moved: float = 0.0) -> Array:
    """Distance of each pixel (y, x) from a line through the middle, along its normal, in cells."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    return np.asarray(np.cos(np.deg2rad(angle)) * y + np.sin(np.deg2rad(angle)) * x - moved)


def frames(speed: float, image: Any, deviation: float = 0.0) -> Array:
    """Frames (frame, y, x) of `image(moved)`, with noise."""
    window = np.stack([image(speed * (k - (FRAMES - 1) / 2)) for k in range(FRAMES)])
    return window + np.random.default_rng(0).normal(0, deviation, window.shape) if deviation else window


def front(angle: float, width: float, moved: float) -> Array:
    """Temperature across a front of some width in cells."""
    return 290 + JUMP * np.clip(distance(angle, moved) / width + 0.5, 0, 1)


def fronts() -> Iterator[Array]:
    """Fronts 1 to 5 cells wide."""
    for angle, width, speed, deviation in product(ANGLES, (1, 2, 3, 4, 5), SPEEDS, DEVIATIONS):
        for side in (1, -1):
            yield frames(side * speed, lambda moved, a=angle, w=width: front(a, w, moved), deviation)


def clouded_fronts() -> Iterator[Array]:
    """Fronts beside clouds: a band of cloud along the front at some distance, or patches of cloud, in some frames."""
    y, x = np.mgrid[:SIZE, :SIZE]
    for angle, width, speed, deviation in product(ANGLES, (1, 3, 5), SPEEDS, DEVIATIONS):
        for side in (1, -1):
            window = frames(side * speed, lambda moved, a=angle, w=width: front(a, w, moved), deviation)
            for offset, breadth in ((-10, 8), (-6, 5), (-3, 3), (0, 6), (3, 3), (6, 5), (10, 8)):
                band = frames(side * speed, lambda m, o=offset, a=angle, b=breadth: abs(distance(a, m) - o) < b / 2)
                for cloudy in ((3,), (1,), (2, 3)):
                    yield np.where(band & np.isin(range(FRAMES), cloudy)[:, None, None], np.nan, window)
            patches = [np.sin(x / 7 + 2 * k) * np.sin(y / 9 + k) > 0.6 for k in range(FRAMES)]
            yield np.where(patches, np.nan, window)


def filaments() -> Iterator[Array]:
    """Filaments of temperature one or two cells wide, warm and cold."""
    for angle, width, speed, sign in product(ANGLES, (1, 2), SPEEDS, (1, -1)):
        yield frames(speed, lambda m, a=angle, w=width, s=sign: 290 + s * JUMP * np.clip(w - abs(distance(a, m)), 0, 1))


def eddies() -> Iterator[Array]:
    """Chequered eddies of some wavelengths, along the grid and across it, steady and moving."""
    for angle, wavelength, speed, deviation in product((0.0, 45.0, 30.0), (4, 6, 8, 16, 32), SPEEDS, DEVIATIONS):
        k = 2 * np.pi / wavelength
        yield frames(
            speed,
            lambda m, a=angle, k=k: 290 + JUMP * np.sin(k * distance(a, m)) * np.sin(k * distance(a + 90)),
            deviation,
        )


def steps(low: float, high: float) -> Iterator[Array]:
    """A step, and steps along both axes: a corner."""
    for angle, speed in product(ANGLES, SPEEDS):
        yield frames(speed, lambda m, a=angle: np.where(distance(a, m) > 0, high, low))
        yield frames(speed, lambda m, a=angle: np.where((distance(a, m) > 0) & (distance(a + 90) > 0), high, low))


def rain_cells() -> Iterator[Array]:
    """Cells of one pixel on a hundredth and a thousandth of the grid, which move together."""
    generator = np.random.default_rng(0)
    for share, (v, u) in product((0.01, 0.001), ((0.5, 0.5), (1, 0), (0, 1), (2, 1), (-3, 4))):
        places = np.argwhere(generator.random((SIZE, SIZE)) < share)
        rain = np.zeros((FRAMES, SIZE, SIZE))
        for k in range(FRAMES):
            i, j = (np.round(places + k * np.array([v, u])).astype(int) % SIZE).T
            rain[k, i, j] = 5 + 20 * generator.random(len(places))
        yield rain


def rain_bands() -> Iterator[Array]:
    """Bands of rain one or two pixels wide, also such as stand still or move along themselves."""
    for angle, width, speed in product(ANGLES, (1, 2), SPEEDS):
        yield frames(speed, lambda m, a=angle, w=width: 20.0 * (abs(distance(a, m) - 0.25) < w / 2))


def rain_chequers() -> Iterator[Array]:
    """Chequered showers, steady and moving."""
    for window in eddies():
        yield 2.0 * np.maximum(window - 290, 0)


SYNTHETIC: dict[str, tuple[str, Any]] = {
    "fronts 1 to 5 cells wide": ("temperature", fronts),
    "fronts beside clouds": ("temperature", clouded_fronts),
    "filaments 1 and 2 cells wide": ("temperature", filaments),
    "chequered eddies": ("temperature", eddies),
    "steps of temperature": ("temperature", lambda: steps(285.0, 295.0)),
    "rain cells of one pixel": ("rain", rain_cells),
    "rain bands 1 and 2 pixels wide": ("rain", rain_bands),
    "chequered showers": ("rain", rain_chequers),
    "steps of rain": ("rain", lambda: steps(0.0, 20.0)),
}
