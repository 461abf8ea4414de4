"""Options from a file of TOML, a table for each command; what was given, as such a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from xvar.errors import Fault, InputError, refuse_unknown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ATTRIBUTE = "xvar_options"  # of what a command wrote: the same text
OUTPUTS = (".nc", ".nc4", ".zarr")
_NOT_OPTIONS = frozenset({"config", "show_config", "output", "overwrite", "inputs", "help"})


def load(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of a file, or of an earlier output, as defaults: the command line goes before them.

    Parameters
    ----------
    context : Context
        Of the command whose table is read.
    path : Path, optional
        The file.

    Raises
    ------
    InputError
        Where it cannot be read or names an option that the command does not have.
    """
    if path is None:
        return None
    table = _tables(path).get(str(context.info_name), {})
    known = _options(context)
    given = {name.replace("-", "_"): value for name, value in table.items()}
    refuse_unknown(sorted(given), known, f"xvar {context.info_name}, in {path}")
    context.default_map = {
        name: value if isinstance(value, (bool, list)) else str(value) for name, value in given.items()
    }
    return path


def _tables(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix in OUTPUTS:
            from xvar.io.reading import open_files

            with open_files([path]) as written:
                text = str(written.attrs.get(ATTRIBUTE, ""))
            if not text:
                raise InputError(
                    Fault(f"{path} without the attribute {ATTRIBUTE}", "what xvar assimilate wrote", "a file of TOML")
                )
        else:
            text = path.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        fix = "xvar assimilate FILE -o OUT --show-config prints one"
        raise InputError(Fault(f"{path}: {error}", "a file of TOML", fix)) from error


def _options(context: typer.Context) -> list[str]:
    """Names in the order of the command's help."""
    options = (parameter for parameter in context.command.params if parameter.param_type_name == "option")
    return [str(option.name) for option in options if option.name not in _NOT_OPTIONS]


def as_toml(context: typer.Context) -> str:
    """The options that were given, on the command line or in a file; those that were not are named in a comment."""
    import tomli_w

    given, left = {}, []
    for name in _options(context):
        if getattr(context.get_parameter_source(name), "name", "DEFAULT") == "DEFAULT":
            left.append(name)
        else:
            value = context.params[name]
            given[name] = list(value) if isinstance(value, tuple) else value
    return f"# by default: {', '.join(left)}\n" + tomli_w.dumps({str(context.info_name): given})
