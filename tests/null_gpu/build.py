"""Builds the GPU that computes nothing, and says in which environment a process finds it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("runtime.cpp")
_ASKED = re.compile(r"cuda[A-Z]\w*|cublas\w+|cu[A-Z]\w+")  # of the runtime, cuBLAS, the driver


class CannotBuildError(Exception):
    """There is no null GPU on this machine."""


def build(folder: Path) -> dict[str, str]:
    """Build the library; returns the environment variables with which a process sees its devices.

    Raises:
        CannotBuildError: what it takes is not there.
    """
    if torch.version.cuda is None:
        raise CannotBuildError(f"torch {torch.__version__} is built without CUDA")
    if missing := [tool for tool in ("g++", "nm") if shutil.which(tool) is None]:
        raise CannotBuildError(f"there is no {missing[0]} on this machine")
    triton = importlib.util.find_spec("triton")  # which carries CUDA's headers
    headers = Path(triton.origin).parent / "backends/nvidia/include" if triton and triton.origin else folder
    if not (headers / "driver_types.h").is_file():
        raise CannotBuildError("no installed package carries CUDA's headers")
    stubs, library = folder / "stubs.cpp", folder / "null_gpu.so"
    stubs.write_text("".join(f'extern "C" int {name}() {{ return 0; }}\n' for name in sorted(_asked() - _answered())))
    subprocess.run(
        ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{headers}", str(SOURCE), str(stubs), "-o", str(library),
         "-Wl,-soname,libcuda.so.1"],  # so that nobody looks for the driver, where there is none
        check=True,
    )  # fmt: skip
    return {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}


def environment(variables: dict[str, str], gpus: int = 1, gpu_bytes: int = 80 * 10**9) -> dict[str, str]:
    """A process' environment with so many null GPUs."""
    path = os.pathsep.join(filter(None, (str(SOURCE.with_name("site")), os.environ.get("PYTHONPATH"))))
    sizes = {"NULL_GPU_COUNT": str(gpus), "NULL_GPU_BYTES": str(gpu_bytes)}
    return {**os.environ, **variables, **sizes, "PYTHONPATH": path}


def _asked() -> set[str]:
    """The functions of CUDA that torch's libraries call."""
    folder = Path(torch.__file__).parent / "lib"
    libraries = [str(path) for path in sorted(folder.glob("lib*.so"))]
    listed = subprocess.run(["nm", "-D", "--undefined-only", *libraries], capture_output=True, text=True, check=True)
    words = (line.split()[-1].partition("@")[0] for line in listed.stdout.splitlines() if line.strip())
    return {word for word in words if _ASKED.fullmatch(word)}


def _answered() -> set[str]:
    return set(re.findall(r"^EXPORT [\w ]+?\*? ?\b(\w+)\(", SOURCE.read_text(), flags=re.MULTILINE))
