"""Duplicates: exact ones, near ones, semantic ones, and copies of evaluation images."""
