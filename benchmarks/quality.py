"""False rejections of quality control: pixels of good data that each rule takes for no observation.

Synthetic windows of 4 frames hold what good images have and rules may mistake: sharp fronts, fronts beside clouds, thin
bands and filaments, single-pixel cells, steps and eddies, steady and moving, without noise and with it. Real windows
are those of default length of every file of the test data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.cf.kinds import Kind
from xvar.cf.record import read_record
from xvar.errors import Faults
from xvar.quality.control import QualityControl
from xvar.quality.rules import Rule, Screen, read_quality

Array = NDArray[Any]

PAGE = Path(__file__).parents[1] / "docs" / "quality.md"
BEGIN, END = "<!-- false rejections -->", "<!-- end of false rejections -->"
#: Files of the test data, and the variable of each.
FILES = {
    "currents-duacs-ionian-202401.nc": "adt",
    "currents-norkyst800-20151116.nc": "u",
    "ocean-arctic20-20160201.nc": "temperature",
    "ocean-norkyst800-20160114.nc": "temperature",
    "radar-fmi-20160928.nc": "rainfall_rate",
    "radar-knmi-20100826.nc": "rainfall_rate",
    "radar-mch-20150515.nc": "rainfall_rate",
    "radar-meteonet-brest-20180103.nc": "rain",
    "radar-meteonet_rain_NW_20160828_1000.nc": "rainfall",
    "radar-meteonet_rain_NW_20160828_1300.nc": "rainfall",
    "radar-meteonet_rain_SE_20160828_1000.nc": "rainfall",
    "radar-meteonet_rain_SE_20160828_1300.nc": "rainfall",
    "sst-alboran-avhrr-201705.nc": "SST",
}

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
    for angle, width, speed, deviation in product(ANGLES, (1, 4), SPEEDS, DEVIATIONS):
        for side in (1, -1):
            window = frames(side * speed, lambda moved, a=angle, w=width: front(a, w, moved), deviation)
            for offset, breadth in ((-8, 8), (-3, 3), (0, 6), (3, 3), (8, 8)):
                band = frames(side * speed, lambda m, o=offset, a=angle, b=breadth: abs(distance(a, m) - o) < b / 2)
                for cloudy in ((3,), (2, 3)):
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


SYNTHETIC: dict[str, tuple[Kind, Any]] = {
    "fronts 1 to 5 cells wide": ("sea_temperature", fronts),
    "fronts beside clouds": ("sea_temperature", clouded_fronts),
    "filaments 1 and 2 cells wide": ("sea_temperature", filaments),
    "chequered eddies": ("sea_temperature", eddies),
    "steps of temperature": ("sea_temperature", lambda: steps(285.0, 295.0)),
    "rain cells of one pixel": ("rain", rain_cells),
    "rain bands 1 and 2 pixels wide": ("rain", rain_bands),
    "chequered showers": ("rain", rain_chequers),
    "steps of rain": ("rain", lambda: steps(0.0, 20.0)),
}


def count(windows: Iterator[Array], kind: Kind, screen: Screen) -> tuple[int, Array, Array]:
    """Return the number of values of windows, and by rule the values and windows that are rejected."""
    control = QualityControl(screen, read_quality(None, kind, Faults()))
    total, values, rejected = 0, np.zeros(len(control.rules), int), np.zeros(len(control.rules), int)
    for window in windows:
        counts = control(window[None])[1][0]
        total += int(np.isfinite(window).sum())
        values += counts
        rejected += counts > 0
    return total, values, rejected


def real(path: Path, name: str) -> tuple[Iterator[Array], Kind, Screen]:
    """Return the windows of a file, its kind of variable and its screen."""
    faults = Faults()
    record = read_record(xr.open_dataset(path), name, faults, own_model=True)  # which may move a variable "u"
    faults.raise_if_any()
    assert record is not None
    frames = record.array.values
    last = max(len(frames) - FRAMES, 0)
    begins = sorted({*range(0, last + 1, STRIDE), last})
    return (frames[begin : begin + FRAMES] for begin in begins), record.kind, Screen.of_record(record)


def measure(data: Path | None) -> Iterator[tuple[str, int, tuple[Rule, ...], Array, Array]]:
    """Return name, number of values, rules, and the rejected values and windows by rule, of each set of good images."""
    units: dict[Kind, str] = {"rain": "mm h-1", "sea_temperature": "K"}
    for name, (kind, make) in SYNTHETIC.items():
        found = count(make(), kind, Screen.of("image", kind, units[kind], None))
        yield (name, found[0], read_quality(None, kind, Faults()), *found[1:])
    for file, variable in FILES.items() if data is not None else ():
        windows, kind, screen = real(data / file, variable)
        found = count(windows, kind, screen)
        yield (f"`{file}`", found[0], read_quality(None, kind, Faults()), *found[1:])


def table(data: Path | None) -> str:
    """Return the table of false rejections."""
    rows = ["| images | values | rejected | share | by rule |", "| --- | ---: | ---: | ---: | --- |"]
    for name, total, rules, values, windows in measure(data):
        words = [f"`{rule.name}` {n} in {w} windows" for rule, n, w in zip(rules, values, windows, strict=True) if n]
        share = f"{values.sum() / total:.1e}" if values.any() else "0"
        rows.append(f"| {name} | {total} | {values.sum()} | {share} | {', '.join(words)} |")
    return "\n".join(rows)


def main() -> None:
    """Write the table into docs/quality.md."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    data = Path(os.environ["XVAR_TEST_DATA"]) if "XVAR_TEST_DATA" in os.environ else None
    PAGE.write_text(f"{before}{BEGIN}\n{table(data)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
