"""The command line: one module for each verb; here it is decided what the user sees."""
