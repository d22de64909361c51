"""From shards to a model: loader, loss, loop, checkpoints; `train.evaluate` examines the model. Needs neither ray nor duckdb."""
