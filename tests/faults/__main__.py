"""Renew docs/faults.md, the snapshot of messages, from the tests of the faults: ``python -m tests.faults``."""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile

import pytest

from tests.faults.table import COLLECTED, DOCUMENT, ROOT, ROWS, SECTIONS, section

HEAD = """# Bad input and faults

What xvar does with each of 94 faults of time, values, units, grids, options, files and hostile input. Input that cannot
be used raises `xvar.InputError`, a `ValueError` whose `faults` hold all faults of the call at once, each with a code,
the place, what was found, what was expected and the fix. Codes stay the same if the wording changes. The page is made
by the tests, each of which puts the fault into a call: `python -m tests.faults` renews it.
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.environ[COLLECTED] = folder
        here = ROOT / "tests" / "faults"
        code = pytest.main(["-q", "-p", "no:cacheprovider", str(here), "--ignore", f"{here}/test_the_table.py"])
        if code:
            return int(code)
        lines = {int(path.name): path.read_text(encoding="utf-8") for path in pathlib.Path(folder).iterdir()}
    import tests.faults.test_the_table  # noqa: F401  (registers the rows, where pytest loaded them under other names)

    text = [HEAD]
    for letter, title in SECTIONS.items():
        text += [f"## {letter}. {title}", "", "| | fault | what xvar does | code | message |", "|--|--|--|--|--|"]
        for number in sorted(n for n in range(1, 95) if section(n) == letter):
            row = ROWS[number]
            text.append(lines.get(number) or f"| {number} | {row.title} | {row.does} | | tested in {row.test} |")
        text.append("")
    DOCUMENT.write_text("\n".join(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
