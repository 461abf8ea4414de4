"""A call whose data and options are read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from xvar.cf.record import Record
from xvar.errors import Faults
from xvar.execution.schedule import Schedule
from xvar.plan.bridge import Bridge
from xvar.plan.configuration import Configuration
from xvar.plan.options import Options

BEFORE_NEXT = 1e-5  # seconds, of which times of observations are no multiples


@dataclass(frozen=True)
class Call:
    """Record, windows and options of a call, with the faults and notes that planning adds."""

    record: Record
    schedule: Schedule
    configuration: Configuration
    options: Options
    background: xr.Dataset | None
    faults: Faults
    notes: list[str]

    @property
    def name(self) -> str:
        """Name of the variable."""
        return self.configuration.variable

    @property
    def cycled(self) -> bool:
        """True if each window begins from the forecast of the window before."""
        return self.configuration.cycled

    @property
    def bridge(self) -> Bridge:
        """Conversion to the tensors of the core."""
        return Bridge(self.record.grid, self.record.land, self.configuration.dtype, self.configuration.device)

    @cached_property
    def windows(self) -> list[tuple[float, float]]:
        """Beginning of each window, in seconds after the first frame of the record, and its length.

        A cycled window of images lasts until just before the first frame of the next one.
        """
        begin = self.record.times.seconds[self.schedule.frames[:, 0]]
        length = np.nanmax(self.schedule.seconds, axis=1)
        if self.schedule.lead is not None:
            following = np.append(self.schedule.lead[1:], np.nan)
            length = np.where(following > 0, length + following - BEFORE_NEXT, length)
        return list(zip(begin.tolist(), length.tolist(), strict=True))
