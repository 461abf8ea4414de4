"""Statements of a file about its own data: axes, times, units, grid, land, and the metadata of what is written.

Nothing here knows torch; everything takes and returns xarray objects and numpy arrays.
"""
