"""J and its terms at every evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xvar.core.minimize import LBFGS


@dataclass(frozen=True)
class Minimisation:
    """One minimisation of an analysis: its outer loop and level, and the most evaluations of J."""

    name: str
    evaluations: int


def minimisations(
    levels: Sequence[int], minimizer: LBFGS, coarse: LBFGS | None = None, *, loop: str = "", finest: int = 1
) -> list[Minimisation]:
    """Return the minimisations of `xvar.core.solve.solve`; `loop` names the outer loop, if there are several.

    `finest` is the side in cells of the blocks of level 1.
    """
    found = []
    for level in levels:
        side = level * finest
        words = [loop] if loop else []
        words.append("whole_grid" if side == 1 else f"blocks_of_{side}")
        found.append(Minimisation("_".join(words), minimizer_of(level, levels, minimizer, coarse).calls))
    return found


def minimizer_of(level: int, levels: Sequence[int], minimizer: LBFGS, coarse: LBFGS | None) -> LBFGS:
    """Return the minimiser of a level."""
    return coarse if coarse is not None and level != levels[-1] else minimizer


class CostHistory:
    """J and its terms at every evaluation of each window, one minimisation (of all that may run) after the other."""

    def __init__(self, windows: int, minimisations: Sequence[Minimisation]) -> None:
        self._number = torch.zeros(windows, sum(one.evaluations for one in minimisations), dtype=torch.int8)
        self._taken = torch.zeros(windows, dtype=torch.int64)
        self._terms: dict[str, Tensor] = {}
        self._begun = 0

    def begin(self) -> None:
        """Start the next minimisation."""
        self._begun += 1

    def note(self, windows: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Add the terms of J (window,) at an evaluation of some windows."""
        windows = windows.cpu()
        place = windows, self._taken[windows]
        for name, values in terms.items():
            if name not in self._terms:
                self._terms[name] = torch.full(self._number.shape, torch.nan, dtype=values.dtype)
            self._terms[name][place] = values.detach().cpu()
        self._number[place] = self._begun
        self._taken[windows] += 1

    def numbers(self) -> dict[str, Tensor]:
        """Return the history as arrays for the output, each (window, evaluation).

        ``cost_history`` is the lowest J so far of the minimisation, ``cost_history_<term>`` its terms there, NaN after
        the last evaluation of a window; ``minimisation`` is the number of the minimisation from 1, and 0 after the last
        evaluation.
        """
        cost = torch.nan_to_num(sum(self._terms.values(), torch.zeros(())), nan=torch.inf)
        lowest = torch.arange(cost.shape[1]).expand(cost.shape)
        for number in range(1, self._begun + 1):
            here = self._number == number
            lowest = torch.where(here, torch.where(here, cost, torch.inf).cummin(dim=1).indices, lowest)
        terms = {f"cost_history_{name}": values.gather(1, lowest) for name, values in self._terms.items()}
        return {"cost_history": sum(terms.values(), torch.zeros(())), **terms, "minimisation": self._number}
