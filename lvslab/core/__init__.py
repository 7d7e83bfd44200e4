"""What every layer stands on: errors, events, files, programs and the stage cache."""
