"""Inputs that crash or exhaust a worker: they are found, left out, and remembered."""
