"""Bad input and faults: a test for each row of the table in docs/faults.md."""
