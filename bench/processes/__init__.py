"""Ours, where a bench measures it in a process of its own."""
