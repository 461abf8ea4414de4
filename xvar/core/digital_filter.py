"""A penalty on fast oscillations: the digital filter as a weak constraint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from xvar.core.dynamics import State
from xvar.core.norm import Norm, Quadratic
from xvar.errors import Faults


@dataclass(frozen=True)
class DigitalFilter:
    r"""Penalty on the departure of a trajectory from its own filtered state, against gravity waves in the analysis.

    .. math::

        J_c = \tfrac12 \sum_p \left(\frac{x_m - \sum_n h_n x_n}{\sigma}\right)_p^2, \qquad
        h_n \propto \Delta t_n\, \frac{\sin \omega_c t_n}{\pi t_n}\, \frac{\sin(\pi t_n / T)}{\pi t_n / T}, \qquad
        \sum_n h_n = 1

    over the points p of the stated variables; :math:`x_m` is the state in the middle of a span of 2 T, :math:`t_n` the
    time from it, :math:`\Delta t_n` the share of time of a state. This is the low-pass filter of cutoff
    :math:`2 \pi / \omega_c` with Lanczos' window: slower oscillations pass and are not penalised, faster ones stay in
    the difference. J_c is quadratic in the trajectory, and costs no more than the sum.

    A filter that is twice its cutoff long separates periods above 1.7 cutoffs (whose power it lowers by less than a
    quarter) from periods below 0.7 of it.

    Parameters
    ----------
    cutoff : float
        Period in seconds; for `assimilate` also a duration, such as "6h". Between the periods of the waves and of the
        flow of interest: no gravity wave in a rotating fluid is longer than :math:`2 \pi / f`.
    std : mapping of str to float or Tensor
        Standard deviation :math:`\sigma` of oscillations faster than the cutoff, in the units of each variable;
        variables that it does not name are free. Small numbers are a strong constraint.
    span : float, optional
        Length of the filter, 2 T, in seconds or as a duration. Default: twice the cutoff.
    start : float
        Where the filter begins in the window, in seconds. In a perfect model the waves of its beginning last.

    References
    ----------
    Gustafsson, N. (1992) Use of a digital filter as weak constraint in variational data assimilation, Workshop on
    variational assimilation, ECMWF, 327-338.
    Polavarapu, S., Tanguay, M., Fillion, L. (2000) Four-dimensional variational data assimilation with digital filter
    initialization, doi:10.1175/1520-0493(2000)128<2491:FDVDAW>2.0.CO;2.
    Gauthier, P., Thépaut, J.-N. (2001) Impact of the digital filter as a weak constraint in the preoperational 4DVAR
    assimilation system of Météo-France, doi:10.1175/1520-0493(2001)129<2089:IOTDFA>2.0.CO;2.
    Lynch, P., Huang, X.-Y. (1992) Initialization of the HIRLAM model using a digital filter,
    doi:10.1175/1520-0493(1992)120<1019:IOTHMU>2.0.CO;2.
    """

    cutoff: Any
    std: Mapping[str, Any]
    span: Any = None
    start: Any = 0.0

    #: Its term of J.
    name: ClassVar[str] = "digital_filter"
    norm: ClassVar[Norm] = Quadratic()

    def __post_init__(self) -> None:
        """Reject a filter without variables or with deviations that are not positive."""
        faults = Faults()
        if not self.std:
            faults.add(
                code="digital-filter-without-variable",
                found="a digital filter of no variable",
                expected="the standard deviation of fast oscillations, for each variable that is filtered",
                fix='DigitalFilter("1D", std={"u": 0.01, "v": 0.01})',
            )
        for key, std in self.std.items():
            values = torch.as_tensor(std)
            if not bool(((values > 0) & values.isfinite()).all()):
                faults.add(
                    code="digital-filter-std-not-positive",
                    variable=key,
                    found=f"a standard deviation of {std} for the digital filter",
                    expected="positive numbers in its units",
                    fix=f"std={{{key!r}: 0.01}}, or leave the variable out",
                )
        faults.raise_if_any()

    def weights(self, times: Sequence[float]) -> dict[int, float]:
        r"""Return the weight of each state of a trajectory in :math:`x_m - \sum_n h_n x_n`, by its index.

        `times` are those of the initial state and of that after each step, in seconds from the beginning of the window.
        Raises InputError if the span does not lie in the window, or its steps do not resolve the cutoff.
        """
        span = 2.0 * self.cutoff if self.span is None else float(self.span)
        moments = [abs(time) for time in times]
        slack = 1e-6 * moments[-1]
        held = [i for i, time in enumerate(moments) if self.start - slack <= time <= self.start + span + slack]
        faults = Faults()
        if not 0 < self.cutoff <= span or self.start < 0 or self.start + span > moments[-1] + slack:
            faults.add(
                code="digital-filter-outside-window",
                found=f"a digital filter of {span:g} s from {self.start:g} s on, cutoff {self.cutoff:g} s, in a window "
                f"of {moments[-1]:g} s",
                expected="a span within the window, no shorter than a positive cutoff",
                fix="a longer window, a shorter cutoff, or span= its own",
            )
        elif len(held) < 5 or max(moments[b] - moments[a] for a, b in pairwise(held)) > (self.cutoff / 3):
            faults.add(
                code="digital-filter-steps-too-long",
                found=f"{len(held)} states of the model in the {span:g} s of the digital filter",
                expected=f"steps of a third of the cutoff, {self.cutoff / 3:g} s, or less",
                fix="give the model a shorter step",
            )
        faults.raise_if_any()
        middle = min(held, key=lambda index: abs(moments[index] - self.start - 0.5 * span))
        low_pass: dict[int, float] = {}
        for index in held:
            before, after = (moments[held[0] if k < held[0] else min(k, held[-1])] for k in (index - 1, index + 1))
            time = moments[index] - moments[middle]
            window = _sinc(2 * time / span) if abs(time) < 0.5 * span else 0.0
            low_pass[index] = 0.5 * (after - before) * _sinc(2 * time / self.cutoff) * window
        total = sum(low_pass.values())
        return {index: float(index == middle) - weight / total for index, weight in low_pass.items()}

    def residual(self, departure: State) -> Tensor:
        """Return the departure over its deviation (window, n)."""
        parts = [
            (departure[key] / torch.as_tensor(std, dtype=departure[key].dtype, device=departure[key].device)).flatten(1)
            for key, std in self.std.items()
        ]
        return torch.cat(parts, dim=1)

    def misfit(self, departure: State) -> Tensor:
        """Return J_c (window,)."""
        return 0.5 * self.residual(departure).square().sum(1)


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)
