"""The table of docs/training.md: what a step takes of each GPU, by model and samples at a time, forecast without a GPU.

It measures nothing and has no peer: the forecast's distance from CUDA's allocator is told there.
"""

from __future__ import annotations

import argparse

from bench.record import print_record
from train.config import load
from train.memory.forecast import MemoryForecast

MODELS = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336")
COLUMNS = ((True, 0), (True, 256), (True, 64), (False, 256), (False, 64))  # grad_checkpointing, micro_batch


def main(arguments: list[str] | None = None) -> int:
    """Print the table as Markdown, and its figures as one JSON object; always 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="MODEL", help="open_clip's names, quickgelu's")
    parser.add_argument("--gpus", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=32_768)
    options = parser.parse_args(arguments)
    heads = [
        f"{'grad_checkpointing' if twice else 'none'}, {at_once or f'all {options.batch_size // options.gpus:,}'}"
        for twice, at_once in COLUMNS
    ]
    print("\n".join([f"| | {' | '.join(heads)} |", "|---" * (len(COLUMNS) + 1) + "|"]))
    gigabytes: dict[str, list[float]] = {}
    for model in options.models:
        config = load(
            {"dataset": "none", "model": f"{model}-quickgelu", "batch_size": options.batch_size, "precision": "bf16"}
        )
        forecast = MemoryForecast(config, options.gpus)
        gigabytes[model] = [
            round(forecast.memory(at_once, grad_checkpointing=twice).allocated / 1e9, 1) for twice, at_once in COLUMNS
        ]
        name = model.replace("ViT-L-14-336", "ViT-L/14@336").replace("ViT-B-", "ViT-B/").replace("ViT-L-", "ViT-L/")
        print(f"| {name} | {' | '.join(str(figure) for figure in gigabytes[model])} |", flush=True)
    print_record({"bench": "memory", "ours": gigabytes, "peer": None, "unit": "GB", "ratio": None, "equal": None})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
