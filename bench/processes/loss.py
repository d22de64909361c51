"""One loss forward and backward in a process of its own: ours|open_clip N WIDTH SCALE FILE; prints a JSON object.

FILE gets the loss and its gradients. Seconds are of the processor on one CPU core, of the clock on a GPU. Bytes are the
most in use beyond the inputs: the process's resident memory, or what torch allocated on the GPU.
"""

import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize


def main() -> None:
    kind, count, width, scale, file = sys.argv[1], *map(int, sys.argv[2:4]), float(sys.argv[4]), Path(sys.argv[5])
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "ours":
        from train.loss import softmax_loss as loss
    else:
        from open_clip.loss import ClipLoss

        loss = ClipLoss()
    for rows in (256, count):
        generator = torch.Generator().manual_seed(0)
        leaves = [normalize(torch.randn(rows, width, generator=generator), dim=1).to(device) for _ in range(2)]
        leaves = [leaf.requires_grad_() for leaf in (*leaves, torch.tensor(scale, device=device))]
        before = start_memory(device)
        began = clock(device)
        value = loss(*leaves)
        value.backward()
        seconds = clock(device) - began
        peak = peak_memory(device) - before
    if file.name != "-":
        torch.save([value.detach().cpu(), *(gradient_of(leaf) for leaf in leaves)], file)
    print(json.dumps({"seconds": seconds, "bytes": peak, "device": device.type}))


def gradient_of(leaf: Tensor) -> Tensor:
    """Return a leaf's gradient, on the CPU."""
    assert leaf.grad is not None
    return leaf.grad.cpu()


def clock(device: torch.device) -> float:
    """Return seconds: of the processor on a CPU core, of the clock on a GPU."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def start_memory(device: torch.device) -> int:
    """Return bytes in use now; the peak is counted from here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): sets the high-water mark back
    return status("VmRSS")


def peak_memory(device: torch.device) -> int:
    """Return the most bytes in use since start_memory."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else status("VmHWM")


def status(key: str) -> int:
    """Return bytes by the kernel's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


main()
