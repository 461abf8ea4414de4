"""Lines, files and pipes of commands, in the words of the shell.

Text of files is escaped: it may hold sequences that a terminal obeys. Files are checked before they are opened, ``-``
is NetCDF through a pipe.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
import xarray as xr

from xvar.errors import Fault, InputError, printable
from xvar.io.writing import check_target

PIPE = "-"

# Exit codes.
UNUSABLE = 2  # a call, an input or a file cannot be used
FAILED = 3  # some windows failed, or a service lost forecasts
UNFINISHED = 4  # some windows were not run
INTERRUPTED = 130

_TEXT = r"""(?:"[^"]*"|'[^']*')"""
_CHOOSES = re.compile(rf"(?<![\w.])assimilate\((?P<text>{_TEXT})\)")
_FIRST = re.compile(r"(?:analysis = )?ds\.var4d\.assimilate\(\)[^\n]*")
_FORECAST = re.compile(rf"(?:forecast = )?analysis\.var4d\.forecast\((?P<lead>{_TEXT})(?P<rest>(?:, \w+=\w+)*)\)(?!\.)")
_SWITCH = rf"{_TEXT}: (?:True|False)"
_SWITCHES = re.compile(rf"(?<![\w.])quality=\{{({_SWITCH}(?:, {_SWITCH})*)\}}")
_VALUE = rf"{_TEXT}|\({_TEXT},?(?: {_TEXT},?)*\)|\.\.\.|[\w.]+|(?=[\s,;]|$)"
_OPTION = re.compile(rf"(?<![\w.])(?P<name>[a-z_]+)=(?P<value>{_VALUE})")


def say(text: object) -> None:
    """Print a line on standard output."""
    typer.echo(printable(text, keep="\n"))


def complain(text: object) -> None:
    """Print a line on standard error."""
    typer.echo(f"xvar: {printable(text, keep=chr(10))}", err=True)


def finish(path: Path | str, text: object = "", *, aside: bool = False) -> None:
    """Print the line that ends a command: the file that was written, and the text.

    It goes to standard output; `aside`, or if that has NetCDF for a pipe, to standard error.
    """
    line = f"{path}: {text}" if str(text) else str(path)
    typer.echo(printable(line, keep="\n"), err=aside or str(path) == PIPE)


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

    def extrapolated(match: re.Match[str]) -> str:
        rest = re.sub(r", (\w+)=", r" --\1 ", match["rest"])
        return f"xvar forecast analysis.nc -o forecast.nc --lead {_word(match['lead'])}{rest}"

    def switched(match: re.Match[str]) -> str:
        if "quality" not in options:
            return match[0]
        rules = re.findall(r"[\"'](\w+)[\"']: (True|False)", match[1])
        return " ".join(f"--quality {'' if used == 'True' else '-'}{name}" for name, used in rules)

    message = _SWITCHES.sub(switched, _FORECAST.sub(extrapolated, message))
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


@contextmanager
def opened(
    names: Sequence[str], group: str | None = None, quantity: str | None = None, *, trusted: bool, **reading: Any
) -> Iterator[xr.Dataset]:
    """Open files, patterns, URLs or ``-`` as one record; standard input is kept in a file: NetCDF readers seek.

    `reading` are options of `xvar.open`. InputError if a file cannot be used, ``-`` is named twice, or standard input
    is a terminal.
    """
    from xvar.io.opening import open as open_record

    with tempfile.TemporaryDirectory(prefix="xvar-") as folder:
        if PIPE in names:
            if list(names).count(PIPE) > 1 or sys.stdin.isatty():
                found = "a terminal as the input" if sys.stdin.isatty() else "- more than once"
                fix = "cat radar.nc | xvar info -"
                raise InputError(Fault(found, "NetCDF through a pipe, once", fix, code="pipe-input"))
            kept = Path(folder) / "stdin.nc"
            with kept.open("wb") as target:
                shutil.copyfileobj(sys.stdin.buffer, target)
            names = [str(kept) if name == PIPE else name for name in names]
        with open_record(names, quantity, group=group, trusted=trusted, **reading) as record:
            yield record


@contextmanager
def opened_record(
    inputs: Sequence[str], group: str | None, *, trusted: bool, **reading: Any
) -> Iterator[tuple[xr.Dataset, str | None]]:
    """Open files as one record; the last word is its variable if it is no file."""
    last = inputs[-1]
    is_file = last == PIPE or Path(last).suffix or Path(last).exists() or any(mark in last for mark in "*?[/\\")
    files, variable = (inputs, None) if len(inputs) == 1 or is_file else (inputs[:-1], last)
    with opened(files, group, variable, trusted=trusted, **reading) as record:
        yield record, variable


@contextmanager
def outgoing(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield the path to write to; output for ``-`` is sent when complete.

    InputError if the path cannot be written, or standard output is a terminal.
    """
    if str(path) != PIPE:
        check_target(path, overwrite=overwrite)
        yield path
        return
    if sys.stdout.isatty():
        found = "a terminal as the output"
        raise InputError(Fault(found, "a file or a pipe for NetCDF", "-o analysis.nc", code="pipe-output"))
    with tempfile.TemporaryDirectory(prefix="xvar-") as folder:
        kept = Path(folder) / "stdout.nc"
        yield kept
        with kept.open("rb") as source:
            shutil.copyfileobj(source, sys.stdout.buffer)
        sys.stdout.buffer.flush()
