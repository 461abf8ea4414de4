"""One option of an assimilation: its name, type, default, methods, documentation, and the check of its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from xvar.errors import nearest

Method = Literal["image_motion", "currents", "advection", "model"]
Constraint = Literal["strong", "weak"]
Coast = Literal["free", "no_flow"]
Gaps = Literal["split", "cross"]
Saved = Literal["increment", "innovation", "residual", "cost_history", "samples"]
Uncertainty = Literal["posterior"]

STATES: tuple[Method, ...] = ("advection", "model")
METHODS: dict[Method, str] = {
    "image_motion": "motion at the end of the window, with growth and decay of rain; strong constraint",
    "currents": "sea-surface currents at the end of the window; strong or weak constraint",
    "advection": "state at the beginning of the window, images moved by a motion that moves itself, or is steady",
    "model": "state at the beginning of the window, by a model of your own",
}
SAVED: tuple[Saved, ...] = ("increment", "innovation", "residual", "cost_history", "samples")
CYCLED = "cycled"
PREVIOUS_WINDOW = "previous_window"
DEVICES = ("cpu", "cuda", "mps", "xpu")  # the common ones; torch knows others


@dataclass(frozen=True)
class Option:
    """An option of `assimilate`."""

    name: str
    type: str  # as in a docstring
    doc: str
    default: Any = None
    methods: tuple[Method, ...] = tuple(METHODS)  # another value than the default is a fault with any other method
    choices: tuple[object, ...] = ()  # empty if there is no list
    empty: Callable[[Any], bool] = field(default=lambda value: value is None)  # means the same as the default
    flag: str | None = None  # help text of the flag of the shell; None if the option is for Python alone
    check: Callable[[Any], str | None] | None = None  # returns the values that are expected if a value is wrong
    example: str = ""  # of a fix

    def is_default(self, value: Any) -> bool:
        """Return whether a value means the same as leaving the option out."""
        if self.empty(value):
            return True
        return isinstance(value, (bool, str, int, float, tuple)) and bool(value == self.default)

    def expected(self, value: Any) -> str | None:
        """Return the values that are expected if a value is wrong."""
        if not self.choices:
            return None if self.check is None else self.check(value)
        try:
            known = any(value is choice or bool(value == choice) for choice in self.choices)
        except (ValueError, TypeError):  # an array has no one truth
            known = False
        return None if known else f"one of {', '.join(repr(choice) for choice in self.choices if choice is not None)}"

    def fix(self, value: Any) -> str:
        """Return the fix of a wrong value: the most similar one that the option takes, if there is a list."""
        if self.choices:
            named = [choice for choice in self.choices if choice is not None]
            return nearest(value, named, f"{self.name}={named[-1]!r}")
        if self.name == "background":
            return nearest(value, [CYCLED], f"background={self.example}")
        if self.name == "first_guess":
            return nearest(value, [PREVIOUS_WINDOW], f"first_guess={self.example}")
        if self.name == "save":
            words = [value] if isinstance(value, str) else list(value)
            unknown = [word for word in words if word not in SAVED]
            return nearest(unknown[0], SAVED, f"save={self.example}") if unknown else f"save=({words[0]!r},)"
        if self.name == "device":
            kind, _, number = str(value).partition(":")
            best = nearest({"gpu": "cuda"}.get(kind, kind), DEVICES, "leave it out")
            return best if not number or number.isdigit() else "cuda:0"
        return f"{self.name}={self.example}, or leave it out"


def no_entries(value: Any) -> bool:
    """Return whether a value is None, or a collection or Dataset without entries."""
    return value is None or (isinstance(value, (Mapping, Sequence)) and not isinstance(value, str) and not len(value))


def no_observation(value: Any) -> bool:
    """Return whether observations are none, or the record's images with all defaults."""
    if no_entries(value):
        return True
    from xvar.plan.experiment.images import Images  # brings torch

    sources = value if isinstance(value, Sequence) else [value]
    return all(isinstance(source, Images) and source.is_default for source in sources)


def check_background(value: Any) -> str | None:
    """Return the values that are expected of a word that is no background."""
    wrong = isinstance(value, str) and value != CYCLED
    return f"a Dataset, or {CYCLED!r}: each window begins from the forecast of the one before" if wrong else None


def check_first_guess(value: Any) -> str | None:
    """Return the values that are expected of a word that is no first guess."""
    wrong = isinstance(value, str) and value != PREVIOUS_WINDOW
    return f"{PREVIOUS_WINDOW!r}, or an analysis" if wrong else None


def check_batch(value: Any) -> str | None:
    """Return the values that are expected if this is neither a number of windows nor a memory."""
    from xvar.execution.batches import is_batch

    return None if is_batch(value) else 'a number of windows, 1 or more, or a memory such as "500MiB"'


def check_memory(value: Any) -> str | None:
    """Return the values that are expected if this is no memory."""
    from xvar.execution.batches import is_batch

    is_memory = value is None or (isinstance(value, str) and is_batch(value))
    return None if is_memory else 'a memory such as "4GB"'


def check_save(value: Any) -> str | None:
    """Return the values that are expected if a word is no output that can be saved."""
    words = [value] if isinstance(value, str) else list(value)
    wrong = isinstance(value, str) or any(word not in SAVED for word in words)
    return f"a sequence of {', '.join(SAVED)}" if wrong else None


def is_minimizer(value: Any) -> bool:
    """Return whether a value can be called as a minimiser, or is None."""
    return value is None or (callable(value) and not isinstance(value, type))


def check_samples(value: Any) -> str | None:
    """Return the values that are expected if this is no positive whole number."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole and value >= 1 else "a number of solves, 1 or more"


def check_device(value: Any) -> str | None:
    """Return what is expected if torch does not know a device; workers find out whether it is there."""
    if value is None:
        return None
    import torch

    try:
        torch.device(value)
    except (RuntimeError, TypeError):
        return f"a device of torch: {', '.join(DEVICES)}, or one by its number, such as cuda:1"
    return None
