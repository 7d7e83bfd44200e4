"""Texts from the model."""
