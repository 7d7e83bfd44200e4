"""The programs of the images, and roles as data."""
