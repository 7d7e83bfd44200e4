"""Lessons: a broken lab, hints, a solution, and a grader."""
