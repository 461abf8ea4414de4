"""Window schedule, batches, dask graph, workers and devices; plain arrays only."""
