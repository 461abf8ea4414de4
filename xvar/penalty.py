"""Penalties on the trajectory, for `assimilate(penalties=...)`."""

from xvar.core.digital_filter import DigitalFilter

__all__ = ["DigitalFilter"]
