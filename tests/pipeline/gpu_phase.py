"""A phase that says which GPUs it was given; for test_cluster, in a worker."""

from __future__ import annotations

import os

from dataset.stages import Stage
from pipeline.engine.phase import Context, Result, phase

TEST = Stage("test", __name__, ("test.gpu",))


@phase(TEST, "test.gpu", gpu=True)
def which(context: Context) -> Result:
    """The numbers of the GPUs that Ray gave this task."""
    return Result(facts={"gpus": [int(number) for number in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]})
