"""Options, choice of the method, solvers of plain arrays, and labels of their results."""
