"""A small web of our own to build a dataset from: renderer, servers, planted truth."""
