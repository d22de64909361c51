"""Examines a model, with the chance level beside each figure.

`evaluators/` has a file for each kind of examination, `sets/` reads evaluation sets, `examine` runs the one on the
other. Importing this package imports no torch.
"""
