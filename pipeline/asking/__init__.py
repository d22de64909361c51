"""Asking a dataset: the forms of an answer, and the shell."""
