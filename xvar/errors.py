"""Faults of a call (code, what was found, what was expected, fix), and the errors and warnings that report them."""

from __future__ import annotations

import difflib
import importlib
import math
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

Result = TypeVar("Result")

#: Options of `xvar.minimize.LBFGS`, by their names and by those that other minimisers give them.
OF_MINIMIZER = {
    **{name: name for name in ("max_evaluations", "gtol", "ftol", "ftol_iterations", "history_size", "first_step")},
    **dict.fromkeys(("max_iterations", "maxiter", "iterations", "maxfun"), "max_evaluations"),
    **dict.fromkeys(("tol", "tolerance", "tolerance_change"), "ftol"),
    "tolerance_grad": "gtol",
}
SIMILAR = 0.75  # ratio of `difflib` from which on a word is taken for a misspelling of another


def printable(text: object, *, keep: str = "") -> str:
    r"""Return text with control characters escaped (``\x1b``), but for those in `keep`.

    Everything that a file states passes through this function before it reaches a terminal, a message or a page:
    names and attributes of a file may hold any character.
    """
    given = str(text)
    if given.isprintable():
        return given
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape", "backslashreplace").decode() for c in given
    )


class Status(IntEnum):
    """Outcome of a window, as written to the variable ``status``."""

    NOT_RUN = 0
    CONVERGED = 1
    NOT_CONVERGED = 2
    BACKGROUND_ONLY = 3
    DIVERGED = 4
    FAILED = 5
    AMBIGUOUS = 6

    @property
    def word(self) -> str:
        """Return the name in lower case, as in flag_meanings."""
        return self.name.lower()


@dataclass(frozen=True)
class Fault:
    """One fault of a call or its input.

    Attributes
    ----------
    found, expected, fix : str
        What was found, what was expected, and the line that fixes it.
    variable, dimension : str, optional
        Where it was found.
    index : object, optional
        Position of the first wrong value, or text such as "window 3".
    code : str
        Kind of fault, such as "window-too-long"; it stays the same if the wording changes.
    """

    found: str
    expected: str
    fix: str
    variable: str | None = None
    dimension: str | None = None
    index: object = None
    code: str = field(kw_only=True)

    def __str__(self) -> str:
        index = self.index if self.index is None or isinstance(self.index, str) else f"index {self.index}"
        labels = (("variable", self.variable), ("dimension", self.dimension))
        parts = [f"{label} {value!r}" for label, value in labels if value is not None]
        place = ", ".join([*parts, *([] if index is None else [index])])
        text = f"found {self.found}; expected {self.expected}; fix: {self.fix}"
        return printable(f"{place}: {text}" if place else text)


class InputError(ValueError):
    """The input or an option cannot be used.

    The message has one line for each fault of the call, so that all can be fixed at once. Keywords are the fields of a
    single `Fault`.

    Attributes
    ----------
    faults : tuple of Fault
        The faults, in the order in which they were found.
    """

    def __init__(self, *faults: Fault, **single: Any) -> None:
        self.faults = (*faults, Fault(**single)) if single else faults
        lines = [str(fault) for fault in self.faults]
        super().__init__(
            lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} faults:", *(f"- {line}" for line in lines)])
        )

    def __reduce__(self) -> tuple[type[InputError], tuple[Fault, ...]]:
        return type(self), self.faults


class DivergedError(InputError):
    """J of a window is not finite at the background, so that it cannot be minimised."""


class InputWarning(UserWarning):
    """The input was interpreted or changed; the message names the change and its fix."""


class AnalysisWarning(UserWarning):
    """Windows of an analysis did not end as asked; the message names them and the fix."""


def warn(text: str, category: type[Warning]) -> None:
    """Warn at the user's line that called xvar."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


def require(package: str, extra: str, what: str, otherwise: str = "") -> Any:
    """Import a package of an extra of xvar; InputError if it is missing for `what`, with another way out, if any."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            code="missing-extra",
            found=f"no package {package}, which {what} needs",
            expected=f"the extra {extra} of xvar",
            fix=f"pip install 'xvar[{extra}]'{otherwise}",
        ) from error


def nearest(word: object, known: Iterable[object], otherwise: str) -> str:
    """Return the fix of an unknown word: the most similar of the known ones, in any case, else `otherwise`."""
    names = {str(name).lower(): name for name in known}
    close = difflib.get_close_matches(str(word).lower(), names, n=1, cutoff=SIMILAR)
    return f"did you mean {names[close[0]]!r}?" if close else otherwise


def refuse_unknown(options: Iterable[str], known: Iterable[str], call: str) -> None:
    """Raise InputError if a call has no such options, each with the most similar that it, or its minimiser, has."""
    known, faults = list(known), Faults()
    for name in options:
        if name not in known:
            fix, others = "leave it out", OF_MINIMIZER if "minimizer" in known else {}
            for close in difflib.get_close_matches(name.lower(), others, n=1, cutoff=SIMILAR):
                fix = f"it belongs to the minimiser, minimizer=xvar.minimize.LBFGS({others[close]}=...)"
            faults.add(
                code="unknown-option",
                found=f"no option {name!r} of {call}",
                expected=f"one of {', '.join(known)}",
                fix=nearest(name, known, fix),
            )
    faults.raise_if_any()


class Faults(list[Fault]):
    """Faults of a call, collected so that one error reports them all."""

    def add(
        self,
        *,
        code: str,
        found: str,
        expected: str,
        fix: str,
        variable: object = None,
        dimension: object = None,
        index: object = None,
    ) -> None:
        """Add a fault; see `Fault`."""
        name, dim = (None if label is None else str(label) for label in (variable, dimension))
        self.append(Fault(found, expected, fix, name, dim, index, code=code))

    def check_choice(self, name: str, value: object, allowed: Sequence[object], usual: object) -> None:
        """Add a fault if an option has none of its allowed values."""
        if value not in allowed:
            self.add(
                code="unknown-choice",
                found=f"{name}={value!r}",
                expected=f"one of {', '.join(map(repr, allowed))}",
                fix=nearest(value, allowed, f"{name}={usual!r}"),
            )

    def check_numbers(self, owner: object, examples: Mapping[str, float], *, zero_allowed: bool = False) -> None:
        """Add a fault for each named attribute of the owner that is not positive (or zero, if allowed) and finite.

        `examples` holds a typical value of each for the fix.
        """
        for name, example in examples.items():
            value = getattr(owner, name)
            if not 0 <= value < math.inf or (value == 0 and not zero_allowed):
                self.add(
                    code="negative-number" if zero_allowed else "number-not-positive",
                    found=f"{name}={value}",
                    expected="a finite number, zero or more" if zero_allowed else "a positive finite number",
                    fix=f"{name}={example:g}",
                )

    @property
    def first(self) -> Fault | None:
        """The first fault, if any."""
        return self[0] if self else None

    def raise_if_any(self) -> None:
        """Raise InputError with all faults, if any."""
        if self:
            raise InputError(*self)

    def require(self, read: Result | None) -> Result:
        """Return what was read; raise InputError with all faults, if any."""
        self.raise_if_any()
        assert read is not None
        return read
