"""Readers of what strangers made, given what strangers could have made; see `python -m tests.fuzz --help`."""
