"""File formats: read and written as values, without an opinion on what is good."""
