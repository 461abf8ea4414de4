"""Runs over long records: killed at any time, run again, and only what is missing is done."""

from xvar.runs.report import Interrupted, Report
from xvar.runs.run import run, status

__all__ = ["Interrupted", "Report", "run", "status"]
