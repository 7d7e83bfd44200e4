"""Tests of `lvslab.lessons` and of every lesson."""
