"""Use a result: forecast, verify, series, summary, geographic directions, pysteps."""

from xvar.analysis import forecast, series, summary, to_geographic, to_pysteps, verify

__all__ = ["forecast", "series", "summary", "to_geographic", "to_pysteps", "verify"]
