"""From shards to a model: loader, loss, loop, checkpoints; `train.evaluate` examines it.

Needs neither ray nor duckdb.
"""

import os

# Idle OpenMP threads must sleep, not spin: where a trainer's threads share cores with its readers or with anything
# else, spinning at every barrier costs it most of its speed. libgomp reads this when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
