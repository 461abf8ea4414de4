"""Use a result: forecast, verify, series, summary, exchange formats."""
