"""The table of faults: each test has its row; docs/faults.md is the snapshot of all messages."""

from __future__ import annotations

import functools
import inspect
import os
import pathlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.codes import Message, codes

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "faults.md"
COLLECTED = "XVAR_FAULTS_COLLECTED"  # a folder that takes the messages while the document is made
SECTIONS = {
    "A": "Time",
    "B": "Values",
    "C": "Units and packing",
    "D": "Grids",
    "E": "Configuration and numerics",
    "F": "Files, processes, clusters",
    "G": "Hostile input",
}
FIRST = {"A": 1, "B": 15, "C": 31, "D": 42, "E": 59, "F": 68, "G": 87}


@dataclass(frozen=True)
class Row:
    """A fault, what xvar does with it, and the test that shows it."""

    number: int
    title: str
    does: str
    test: str


def section(number: int) -> str:
    return max((letter for letter in FIRST if FIRST[letter] <= number), key=lambda letter: FIRST[letter])


ROWS: dict[int, Row] = {}


def fault(number: int, title: str, does: str) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Register the test of a row; it returns the message, or the note, that a user reads."""

    def register(test: Callable[..., str]) -> Callable[..., None]:
        ROWS[number] = Row(number, title, does, f"{test.__module__.rpartition('.')[2]}.py::{test.__name__}")

        @functools.wraps(test)
        def run(*arguments: object, **fixtures: object) -> None:
            message = test(*arguments, **fixtures)
            assert message, "a row without a message"
            line = written(ROWS[number], message)
            folder = os.environ.get(COLLECTED)
            if folder:
                (pathlib.Path(folder) / f"{number:02d}").write_text(line, encoding="utf-8")
                return
            assert line in DOCUMENT.read_text(encoding="utf-8").splitlines(), (
                f"docs/faults.md differs: python -m tests.faults renews it\n{line}"
            )

        run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
        return run

    return register


def elsewhere(number: int, title: str, does: str, *tests: str) -> None:
    """Register a row whose tests are in another module, as ``file.py::name``."""
    ROWS[number] = Row(number, title, does, ", ".join(tests))


def written(row: Row, message: str) -> str:
    """Return a line of the table; a message that reports faults has their codes."""
    code = " ".join(f"`{code}`" for code in dict.fromkeys(codes(message))) if isinstance(message, Message) else ""
    message = re.sub(r"/[^\s'\"]*pytest-[^\s'\"]*/", "", message)
    message = re.sub(r"process \d+ on [\w.-]+", "process 4711 on host", message)
    message = re.sub(
        r"after \d+ evaluations with a gradient of norm [\d.e+]+",
        "after 2 evaluations with a gradient of norm 123",
        message,
    )
    # What this machine has is no property of the fault.
    message = re.sub(r"at most the [\d.e+]+ GB", "at most the 16 GB", message)
    text = " ".join(message.replace("`", "'").split()).replace("|", "\\|")
    return f"| {row.number} | {row.title} | {row.does} | {code} | `{text}` |"


def notes(analysis) -> str:
    """Return the notes of an analysis on what was found and assumed."""
    import json

    return "; ".join(json.loads(analysis.attrs["xvar_configuration"])["notes"])


def note(analysis, *words: str) -> str:
    """Return the one note that has the words."""
    import json

    found = [n for n in json.loads(analysis.attrs["xvar_configuration"])["notes"] if all(word in n for word in words)]
    assert len(found) == 1, (words, notes(analysis))
    return found[0]
