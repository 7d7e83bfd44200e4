"""The stage cache, programs, files."""
