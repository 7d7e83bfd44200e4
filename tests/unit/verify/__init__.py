"""The rules for artifacts."""
