"""A file an evaluator; `train.evaluate.registry` says what such a file has."""
