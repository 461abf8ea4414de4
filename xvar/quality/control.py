"""The quality control of windows before they are solved, and the warning of what it rejected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvar.errors import Faults, InputWarning, warn
from xvar.quality.rules import Rule
from xvar.quality.values import Screen, check_infinite, check_left, check_plausible

Array = NDArray[Any]


@dataclass(frozen=True)
class QualityControl:
    """Take values that are no observations as missing, each window by itself.

    Attributes
    ----------
    screen : Screen
        The variable.
    rules : tuple of Rule
        Rules in use, in their order.
    refuse : bool
        Raise for values that `screen_record` refuses in memory: lazy data were not read there.
    strict : bool
        Raise if values are infinite.
    """

    screen: Screen
    rules: tuple[Rule, ...]
    refuse: bool = False
    strict: bool = False

    def __call__(self, frames: Array) -> tuple[Array, NDArray[np.int32]]:
        """Return frames with NaN for rejected values, and the number of these by window and rule.

        Parameters
        ----------
        frames : array (window, frame, y, x)
            Not changed; returned as they are if nothing is rejected.

        Returns
        -------
        frames : array (window, frame, y, x)
            Of a float type if values are rejected.
        counts : array of int32 (window, rule)
            Values that each rule rejected, of those that the rules before it kept.

        Raises
        ------
        InputError
            If values are refused.
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
        clean = window
        for index, rule in enumerate(self.rules):
            wrong = rule.rejected(clean, self.screen)
            count[index] = np.count_nonzero(wrong)
            if count[index]:
                clean = np.where(wrong, np.nan, clean)
        valid = int(np.isfinite(window).sum()) if self.refuse else 0
        if valid:  # a window without any value is a cloudy day, and no fault
            check_left(valid, int(np.isfinite(clean).sum()), len(window), self.screen, faults)
            faults.raise_if_any()
        return clean


def warn_of_artefacts(counts: Array, rules: tuple[Rule, ...], window_name: Callable[[int], str]) -> None:
    """Warn of rejected artefacts by rule, number and window; single values were reported on reading.

    Parameters
    ----------
    counts : array (window, rule)
        Rejected values, in memory.
    rules : tuple of Rule
        The rules.
    window_name : callable (window) -> str
        Name of a window.
    """
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
