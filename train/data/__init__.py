"""Training samples: drawn from datasets, read from shards, decoded, and given to a step in order."""
