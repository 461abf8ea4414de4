"""Messages in the words of the shell: what they say in Python, where the command line has a word for it."""

from __future__ import annotations

import re
import shlex
from typing import Any

_TEXT = r"""(?:"[^"]*"|'[^']*')"""
_CHOOSES = re.compile(rf"(?<![\w.])assimilate\((?P<text>{_TEXT})\)")
_FIRST = re.compile(r"(?:analysis = )?ds\.var4d\.assimilate\(\)[^\n]*")
_VALUE = rf"{_TEXT}|\({_TEXT},?(?: {_TEXT},?)*\)|\.\.\.|[\w.]+|(?=[\s,;]|$)"
_OPTION = re.compile(rf"(?<![\w.])(?P<name>[a-z]+)=(?P<value>{_VALUE})")


def in_shell(message: str, command: Any) -> str:
    """A message as who types a command reads it.

    Parameters
    ----------
    message : str
        Of an error or a warning, which names options as those of a call: ``units="K"``, ``sort=True``.
    command : click.Command
        What was typed. Options that it has are named as it does: ``--units K``, ``--sort``; all else stays as it is.
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
    """Whether a line of Python is not at its end: its brackets stand behind a word, those of prose behind a space."""
    depth: list[bool] = []
    for place, sign in enumerate(before):
        if sign == "(":
            depth.append(place > 0 and (before[place - 1].isalnum() or before[place - 1] in "_]"))
        elif sign == ")" and depth:
            depth.pop()
    return any(depth)
