"""Packages, trees, bakes."""
