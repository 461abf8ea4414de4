"""Checks that a user runs on her own model and data. Nothing here raises for what it finds."""

from xvar.check.conformance import Report, Row, covariance, dynamics
from xvar.check.record import Examination, describe, record

__all__ = ["Examination", "Report", "Row", "covariance", "describe", "dynamics", "record"]
