"""Warnings stand at the line that called xvar."""

from __future__ import annotations

import numpy as np
import pytest

from tests.faults.images import warm
from xvar.errors import AnalysisWarning, InputWarning
from xvar.minimize import LBFGS


def test_what_was_taken_otherwise_is_told_where_xvar_was_called() -> None:
    record = warm()
    record["sst"].values[0, 3, 4] = np.inf
    with pytest.warns(InputWarning, match="1 infinite values") as told:
        record.var4d.assimilate()
    assert {warning.filename for warning in told} == {__file__}


def test_windows_that_did_not_end_well_are_told_where_xvar_was_called() -> None:
    with pytest.warns(AnalysisWarning, match="not converged") as told:
        warm().var4d.assimilate(minimizer=LBFGS(max_evaluations=2))
    assert {warning.filename for warning in told} == {__file__}
