"""Quality control of windows before they are solved, and the warning of rejected artefacts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.errors import Faults, InputWarning, warn
from xvar.quality.rules import Rule, reject
from xvar.quality.values import Screen, check_infinite, check_left, check_plausible

Array = NDArray[Any]


@dataclass(frozen=True)
class QualityControl:
    """Quality control of windows, each by itself: values that are no observations become NaN."""

    screen: Screen
    rules: tuple[Rule, ...]  # in their order
    refuse: bool = False  # raise for values that `screen_record` refuses in memory: lazy data were not read there
    strict: bool = False  # raise for infinite values

    def __call__(self, frames: Array) -> tuple[Array, NDArray[np.int32]]:
        """Return windows (window, frame, y, x) with NaN for rejected values, and their number (window, rule).

        A value counts for the first rule that rejects it. Windows are not changed; without rejected values they are
        returned as they are. Raise InputError if values are refused.
        """
        counts = np.zeros((len(frames), len(self.rules)), dtype=np.int32)
        windows = [self._window(window, count) for window, count in zip(frames, counts, strict=True)]
        if not counts.any():
            return frames, counts
        dtype = frames.dtype if frames.dtype.kind == "f" else np.dtype(float)
        return np.stack(windows).astype(dtype, copy=False), counts

    def _window(self, window: Array, count: NDArray[np.int32]) -> Array:
        """Return one window without rejected values, and write their numbers by rule."""
        faults = Faults()
        if self.strict:
            check_infinite(window, self.screen, faults)
        if self.refuse:
            check_plausible(window, self.screen, frozenset(rule.name for rule in self.rules), faults)
        faults.raise_if_any()
        clean, found = reject(window, self.rules, self.screen)
        for rule, wrong in found.items():
            count[self.rules.index(rule)] = np.count_nonzero(wrong)
        valid = int(np.isfinite(window).sum()) if self.refuse else 0
        if valid:  # a window without any value is a cloudy day, and no fault
            check_left(valid, int(np.isfinite(clean).sum()), len(window), self.screen, faults)
            faults.raise_if_any()
        return clean


def warn_of_artefacts(counts: Array, rules: tuple[Rule, ...], window_name: Callable[[int], str]) -> None:
    """Warn of artefacts by counts (window, rule) in memory; single values are reported on reading."""
    texts, names = [], []
    for rule, column in zip(rules, counts.T, strict=True):
        windows = np.flatnonzero(column)
        if rule.artefact and windows.size:
            names.append(rule.name)
            texts.append(
                f"{rule.name} rejected {column.sum()} values ({rule.doc}) in {windows.size} of {len(column)} windows, "
                f"the first {window_name(int(windows[0]))}"
            )
    if texts:
        switches = ", ".join(f'"{name}": False' for name in names)
        warn(f"{'; '.join(texts)}: taken as missing; quality={{{switches}}} keeps them", InputWarning)
