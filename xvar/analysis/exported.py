"""An output as the exports read it: the motion or the forecast, and the positions of its points."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xvar.analysis.outputs import PARTS, SHOWN, Part, configuration_of, motion_of
from xvar.analysis.to_geographic import COMPONENTS, to_geographic
from xvar.cf.axes import Axes
from xvar.cf.grid.geometry import nearest_known
from xvar.cf.grid.positions import positions_of
from xvar.errors import Faults
from xvar.plan.configuration import Configuration

Of = Literal["motion", "forecast"]
ARROWS = 40  # along the longer side of the grid, by default


@dataclass(frozen=True)
class Exported:
    """One window of an output, with the latitude and longitude (y, x) of its points."""

    data: xr.Dataset  # without dimension "window"
    configuration: Configuration
    of: Of
    plane: tuple[Hashable, Hashable]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]  # from -180 to 180; both NaN where a point has no place on the Earth
    part: Part = SHOWN

    @classmethod
    def read(cls, data: xr.Dataset, of: Of | None, window: int, part: Part) -> Exported:
        """Read an output; InputError if it is none, has no such part, or its positions are unknown."""
        faults = Faults()
        default = "forecast" if "lead_time" in data.dims else "motion"
        faults.check_choice("of", of or default, ("motion", "forecast"), default)
        faults.check_choice("part", part, PARTS, SHOWN)
        faults.raise_if_any()
        chosen: Of = of or default  # type: ignore[assignment]
        needed = ("u", "v") if chosen == "motion" else ("{variable}", "lead_time")
        configuration = configuration_of(data, *needed, output="analysis" if chosen == "motion" else "forecast")
        like = data["u" if chosen == "motion" else configuration.variable]
        plane = (like.dims[-2], like.dims[-1])
        positions = faults.require(positions_of(like, Axes("time", *plane), faults, mapping=data))
        if chosen == "motion":
            data = to_geographic(data)
        longitude = (positions[1] + 180) % 360 - 180
        at = {"window": window} if "window" in data.dims else {}
        return cls(data.isel(at), configuration, chosen, plane, positions[0], longitude, part)

    @property
    def variable(self) -> xr.DataArray:
        """The forecast variable."""
        return self.data[self.configuration.variable]

    @cached_property
    def places(self) -> NDArray[np.float64]:
        """Longitude and latitude (2, y, x), those of the nearest point where a point has none."""
        positions, unknown = np.stack([self.longitude, self.latitude]), np.isnan(self.latitude)
        return nearest_known(positions, unknown) if unknown.any() else positions

    def motion(self) -> dict[str, NDArray[Any]]:
        """Return fields (y, x): u, v, eastward and northward, speed in m s-1, and the direction that it goes to."""
        u, v = motion_of(self.data, self.part)
        suffix = str(u.name).removeprefix("u")
        parts = {"u": u, "v": v, **{word: self.data[f"{word}{suffix}"] for word in COMPONENTS}}
        fields = {
            name: part.isel(step=-1, missing_dims="ignore").transpose(*self.plane).values
            for name, part in parts.items()
        }
        east, north = fields["eastward"], fields["northward"]
        fields["speed"] = np.hypot(east, north)
        fields["direction"] = np.degrees(np.arctan2(east, north)) % 360
        return fields

    @property
    def moment(self) -> str:
        """The end of the window."""
        return text_of(self.data["forecast_reference_time"].values)

    def kept(self, every: int | None) -> tuple[slice, slice]:
        """Return the rows and columns that are exported, `every` points apart, in the middle of the grid."""
        step = every or max(1, max(self.latitude.shape) // ARROWS)
        rows, columns = (slice((size - 1) % step // 2, None, step) for size in self.latitude.shape)
        return rows, columns


def text_of(time: Any) -> str:
    """Return a date as text of ISO 8601."""
    return f"{str(time).partition('.')[0].replace(' ', 'T')}Z"
