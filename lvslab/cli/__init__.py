"""The command line: one module for each verb; all that is shown to the user is decided here."""
