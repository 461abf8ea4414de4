"""Physical limits of what a variable measures."""

from __future__ import annotations

from xvar.cf.kinds import Kind
from xvar.cf.units import are_convertible, convert, rain_rate_factor

#: Limits in mm h-1 (38 mm fell within a minute once), dBZ and K; and of any variable.
RAIN_RATE, REFLECTIVITY, TEMPERATURE = (0.0, 3000.0), (-130.0, 130.0), (100.0, 1000.0)
ANYTHING = (-1e15, 1e15)


def physical_limits(kind: Kind, units: str, interval: float | None) -> tuple[float, float]:
    """Return the lowest and highest possible value in `units`; `interval` is that of an amount of rain, in seconds."""
    if kind == "rain":
        factor = rain_rate_factor(units, interval)
        if factor is not None:
            return RAIN_RATE[0] / factor, RAIN_RATE[1] / factor
    elif kind == "reflectivity" and units == "dBZ":
        return REFLECTIVITY
    elif kind in ("sea_temperature", "temperature") and are_convertible(units, "K"):
        low, high = (float(convert(limit, "K", units)) for limit in TEMPERATURE)
        return low, high
    return ANYTHING
