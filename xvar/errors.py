"""Errors that say what was found, what was expected and how to fix it."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field


def _printable(text: object) -> str:
    """Text with control characters escaped: attributes of a file may hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a call: where it is, what is there, and what fixes it.

    Attributes
    ----------
    found, expected, fix : str
        What is there, what should be there, and a line that fixes it.
    variable, dimension : str, optional
        Where it is.
    index : object, optional
        Position of the first value that is wrong, or the name of a window.
    code : str
        Name of the kind of fault, such as "window-too-long"; it stays the same if the wording changes.
    """

    found: str
    expected: str
    fix: str
    variable: str | None = None
    dimension: str | None = None
    index: object = None
    code: str = field(default="", kw_only=True)

    def __str__(self) -> str:
        # An index that is text says itself what it is, such as "window 3".
        index = self.index if self.index is None or isinstance(self.index, str) else f"index {self.index}"
        labels = (("variable", self.variable), ("dimension", self.dimension))
        parts = [f"{label} {value!r}" for label, value in labels if value is not None]
        place = ", ".join([*parts, *([] if index is None else [index])])
        text = f"found {self.found}; expected {self.expected}; fix: {self.fix}"
        return _printable(f"{place}: {text}" if place else text)


class InputError(ValueError):
    """The input or an option cannot be used as it is.

    The message has one line for each problem of the call, so that all of them can be mended at once.

    Attributes
    ----------
    faults : tuple of Fault
        What is wrong, in the order in which it was met.
    """

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        lines = [str(fault) for fault in faults]
        head = lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} faults:", *(f"- {line}" for line in lines)])
        super().__init__(head)

    def __reduce__(self) -> tuple[type[InputError], tuple[Fault, ...]]:
        return type(self), self.faults


def nearest(word: object, known: Iterable[object], otherwise: str) -> str:
    """How to mend a word that is none of those known: by the nearest of them, where one is near."""
    names = {str(name): name for name in known}
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    return f"did you mean {names[close[0]]!r}?" if close else otherwise


def refuse_unknown(options: Iterable[str], known: Iterable[str], call: str) -> None:
    """Raise InputError where options are none of a call's, each with the nearest that is."""
    known = list(known)
    faults = [
        Fault(f"no option {name!r} of {call}", f"one of {', '.join(known)}", nearest(name, known, "leave it out"))
        for name in options
        if name not in known
    ]
    if faults:
        raise InputError(*faults)


class DivergedError(InputError):
    """J of a window has no finite value at the background: nothing can be minimised from there."""


class InputWarning(UserWarning):
    """The input was taken otherwise than it stands; the message says how, and what would mend it."""


class AnalysisWarning(UserWarning):
    """Windows of an analysis are not what was asked for; the message says which, and what would mend them."""


def warn(text: str, category: type[Warning]) -> None:
    """Warn at the line of the user that called xvar: a place within it would tell nobody anything."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


class Faults:
    """Collects the faults of a call, so that one report names them all."""

    def __init__(self) -> None:
        self._found: list[Fault] = []

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._found)

    def add(
        self,
        *,
        code: str = "",
        found: str,
        expected: str,
        fix: str,
        variable: object = None,
        dimension: object = None,
        index: object = None,
    ) -> None:
        """Note a problem and go on."""
        name, dim = (None if label is None else str(label) for label in (variable, dimension))
        self._found.append(Fault(found, expected, fix, name, dim, index, code=code))

    def check_choice(self, name: str, value: object, allowed: Sequence[object], usual: object) -> None:
        """Note a value that an option does not take."""
        if value not in allowed:
            self.add(
                found=f"{name}={value!r}",
                expected=f"one of {', '.join(map(repr, allowed))}",
                fix=nearest(value, allowed, f"{name}={usual!r}"),
            )

    @property
    def first(self) -> Fault | None:
        """The first problem that was noted."""
        return self._found[0] if self._found else None

    def refuse(self) -> None:
        """Raise InputError where anything was noted."""
        if self._found:
            raise InputError(*self._found)
