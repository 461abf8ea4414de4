"""Nowcasts in operation: one from the end of a record, and one for every frame that a radar writes."""
