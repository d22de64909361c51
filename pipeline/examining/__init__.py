"""Looks into a dataset with a model: search by text or image, and why a model fails at a set."""
