"""open_clip's training data, in the peer's own environment: speed|centre DATASET SAMPLES WORKERS BATCH [FILE].

`open_clip_train.data.get_wds_dataset` with the defaults of `open_clip_train.params`; the transforms are those that
`open_clip.create_model_and_transforms("ViT-B-32")` returns, without the model.
"""

import gc
import json
import resource
import sys
import time
from argparse import Namespace

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip_train.data import get_wds_dataset
from open_clip_train.params import parse_args


def cpu_seconds() -> float:
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def arguments(shards: str, samples: int, workers: int, batch: int) -> Namespace:
    args = parse_args(["--model", "ViT-B-32", "--workers", str(workers), "--batch-size", str(batch)])
    args.train_data = args.val_data = shards
    args.train_num_samples = args.val_num_samples = samples
    args.world_size, args.rank, args.distributed = 1, 0, False
    return args


def main() -> None:
    task, dataset = sys.argv[1:3]
    samples, workers, batch = map(int, sys.argv[3:6])
    args = arguments(f"{dataset}/shards/train-{{00000..00007}}.tar", samples, workers, batch)
    train = task == "speed"
    transform = image_transform_v2(PreprocessCfg(size=224), is_train=train)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    if train:
        print(transform, file=sys.stderr)
        cpu, began = cpu_seconds(), time.perf_counter()
        data = get_wds_dataset(args, transform, True, tokenizer=tokenizer)
        seen = 0
        for epoch in range(2):
            data.set_epoch(epoch)
            for images, _ in data.dataloader:
                seen += len(images)
        seconds = time.perf_counter() - began
        del data
        gc.collect()
        print(json.dumps({"samples_per_second": seen / seconds, "cpu_seconds": (cpu_seconds() - cpu) / seen}))
        return
    data = get_wds_dataset(args, transform, False, tokenizer=tokenizer)
    images, texts = [], []
    for pixels, tokens in data.dataloader:
        images.append(pixels)
        texts.append(tokens)
        if sum(map(len, images)) >= samples:
            break
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    pixels = torch.cat(images)[:samples].mul_(std).add_(mean).mul_(255).round_().to(torch.uint8)
    np.savez(sys.argv[6], images=pixels.numpy(), texts=torch.cat(texts)[:samples].numpy())
    print("{}")


main()
