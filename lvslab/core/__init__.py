"""What every layer uses: errors, events, files, programs and the stage cache."""
