"""Builds made again."""
