"""A run on disk: written, gone on from, loaded as a model, and exported to what others read."""
