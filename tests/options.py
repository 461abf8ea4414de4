"""The table of options in docs/options.md: ``python -m tests.options`` renews it."""

from __future__ import annotations

import re
from pathlib import Path

from xvar.plan.option import METHODS
from xvar.plan.options import OPTIONS

PAGE = Path(__file__).parents[1] / "docs/options.md"
TABLE = re.compile(r"(?<=<!-- options -->\n).*?(?=\n<!-- end of options -->)", re.DOTALL)


def table() -> str:
    """Return the options as a table in Markdown, for the documentation."""
    rows = ["| option | default | methods | in the shell | meaning |", "|---|---|---|---|---|"]
    for option in OPTIONS.values():
        methods = "all" if set(option.methods) == set(METHODS) else ", ".join(option.methods)
        flag = f"`--{option.name.replace('_', '-')}`" if option.flag else ""
        doc = option.doc.replace("|", "\\|").replace("``", "`")
        rows.append(f"| `{option.name}` | `{option.default!r}` | {methods} | {flag} | {doc} |")
    return "\n".join(rows)


def renewed(text: str) -> str:
    """Return the text of the page with the table of the options as they are declared."""
    return TABLE.sub(lambda _: table(), text)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
