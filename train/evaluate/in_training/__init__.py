"""Examines a model while it is trained, on all processes of the run."""
