"""What xvar costs and what its forecasts are worth, side by side with others: ``python -m benchmarks``."""
