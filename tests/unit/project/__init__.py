"""The whole code base, its documents and its package."""
