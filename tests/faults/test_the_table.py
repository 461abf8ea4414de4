"""The table is complete, and docs/faults.md is made of it."""

from __future__ import annotations

from tests.faults import (  # noqa: F401  (registers the rows)
    test_a_time,
    test_b_values,
    test_c_units,
    test_d_grids,
    test_e_numerics,
    test_f_files,
    test_g_hostile,
)
from tests.faults.table import DOCUMENT, ROOT, ROWS


def test_every_fault_has_a_row() -> None:
    assert sorted(ROWS) == list(range(1, 95))


def test_rows_that_are_tested_elsewhere_name_tests_that_exist() -> None:
    for row in ROWS.values():
        for name in row.test.split(", "):
            file, _, test = name.partition("::")
            path = ROOT / file if "/" in file else ROOT / "tests" / "faults" / file
            assert f"def {test}(" in path.read_text(encoding="utf-8"), name


def test_the_document_has_every_row() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    for number, row in ROWS.items():
        (line,) = [line for line in lines if line.startswith(f"| {number} |")]
        assert line.startswith(f"| {number} | {row.title} | {row.does} |")
