"""Lines on the terminal, in the words of the shell.

Text of files is escaped: it may hold sequences that a terminal obeys.
"""

from __future__ import annotations

import re
import shlex
import sys
from typing import Any

import typer

from xvar.errors import printable

_TEXT = r"""(?:"[^"]*"|'[^']*')"""
_CHOOSES = re.compile(rf"(?<![\w.])assimilate\((?P<text>{_TEXT})\)")
_FIRST = re.compile(r"(?:analysis = )?ds\.var4d\.assimilate\(\)[^\n]*")
_VALUE = rf"{_TEXT}|\({_TEXT},?(?: {_TEXT},?)*\)|\.\.\.|[\w.]+|(?=[\s,;]|$)"
_OPTION = re.compile(rf"(?<![\w.])(?P<name>[a-z]+)=(?P<value>{_VALUE})")


def say(text: object) -> None:
    """Print a line on standard output."""
    typer.echo(printable(text, keep="\n"))


def complain(text: object) -> None:
    """Print a line on standard error."""
    typer.echo(f"xvar: {printable(text, keep=chr(10))}", err=True)


def note(text: object) -> None:
    """Print a line on standard error if it is a terminal."""
    if sys.stderr.isatty():
        typer.echo(printable(text, keep="\n"), err=True)


def in_shell(message: str, command: Any) -> str:
    """Return a message of Python with options as flags of a command: ``units="K"`` as ``--units K``.

    Options that the command does not have, and all other text, stay.
    """
    options = {option.name: option for option in command.params if option.param_type_name == "option"}

    def chosen(match: re.Match[str]) -> str:
        return f"xvar {command.name} FILE {_word(match['text'])}"

    def option(match: re.Match[str]) -> str:
        known = options.get(match["name"])
        if known is None or _in_a_call(match.string[: match.start()]):
            return match[0]
        if not match["value"]:
            return str(known.opts[0])
        if known.is_flag:
            return str(known.opts[0]) if match["value"] == "True" else match[0]
        values = re.findall(_TEXT, match["value"]) or [match["value"]]
        return " ".join(f"{known.opts[0]} {_word(value)}" for value in values)

    message = _CHOOSES.sub(chosen, message)
    message = _FIRST.sub("first xvar assimilate FILE -o analysis.nc", message)
    return _OPTION.sub(option, message)


def _word(value: str) -> str:
    """A literal of Python as a word of the shell."""
    return shlex.quote(value[1:-1]) if value[0] in "\"'" else value


def _in_a_call(before: str) -> bool:
    """Return True if a line of Python is incomplete: a bracket that follows a word, not a space, is still open."""
    depth: list[bool] = []
    for place, sign in enumerate(before):
        if sign == "(":
            depth.append(place > 0 and (before[place - 1].isalnum() or before[place - 1] in "_]"))
        elif sign == ")" and depth:
            depth.pop()
    return any(depth)
