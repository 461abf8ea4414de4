"""Open and write files: NetCDF, Zarr, ODIM, URLs, untrusted files."""
