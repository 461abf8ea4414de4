"""Models: functions (state, seconds) -> state, and the observation operators of parcels."""
