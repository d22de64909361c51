"""`compile: true`: whole towers, blocks of shards, and code that is found again at the next start."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.train import ranks, tiny
from tests.train.test_loop import losses
from tests.train.test_options import four_steps
from train.distributed.parallelize import compile_blocks


def test_towers_are_compiled_if_wanted_and_draw_the_same(
    tiny_dataset: str, patches: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """By the capture of their graphs, forward and backward; the C++ or Triton of these takes a minute to build. Which
    patches are dropped is drawn twice for each micro-batch, in both passes alike, as it is without a compiler."""
    compiled, exact = [], nn.Module.compile

    def compile(module: nn.Module, **options: Any) -> None:
        compiled.append(type(module).__name__)
        exact(module, backend="aot_eager", fullgraph=True, **options)

    options = {"model": patches, "micro_batch": 6, "ema": 0.9}
    plain = four_steps(tiny_dataset, tmp_path / "plain", **options)
    monkeypatch.setattr(nn.Module, "compile", compile)
    found = four_steps(tiny_dataset, tmp_path / "compiled", compile=True, **options)
    assert found == pytest.approx(plain, abs=1e-5)
    assert compiled == ["CLIP"]


@pytest.mark.parametrize(("model", "blocks", "graphs"), [(tiny.MODEL, 2, 2), (tiny.RESNET, 5, 1)])
def test_each_block_of_shards_is_compiled_whole_and_once(
    tiny_dataset: str, tmp_path: Path, monkeypatch: Any, model: str, blocks: int, graphs: int
) -> None:
    """Blocks alike are one graph, which all steps share; a break would be an error. Neither BatchNorms that ask the
    other process break it, nor blocks that are computed twice. Of a ResNet one bottleneck with a stride, which has all
    that another has, is captured: each takes seconds. Its text's block is like those of the transformer."""
    exact, counters = torch.compile, torch._dynamo.utils.counters
    keys = {"model": model, "epochs": 0.5, "grad_checkpointing": True}
    given: list[nn.Module] = []
    captured: set[tuple[type, int]] = set()
    is_resnet = model == tiny.RESNET

    def compile(function: Any, **options: Any) -> Any:
        given.append(function.__self__)
        kind = type(given[-1]), getattr(given[-1], "stride", -len(given))
        if kind in captured or (is_resnet and kind[1] != 2):
            return function
        captured.add(kind)
        return exact(function, backend="aot_eager", fullgraph=True, **options)

    def work() -> None:
        counters.clear()
        four_steps(tiny_dataset, tmp_path / "compiled", compile=True, parallel="fsdp", **keys)
        assert len(given) == blocks
        assert counters["stats"]["unique_graphs"] == len(captured) == graphs
        assert not counters["graph_break"]

    plain = four_steps(tiny_dataset, tmp_path / "plain", **keys)
    monkeypatch.setattr(torch, "compile", compile)
    ranks.run(2, work)
    assert losses(tmp_path / "compiled") == pytest.approx(plain, abs=1e-5)


def test_compiled_code_is_found_again_at_the_next_start(tmp_path: Path) -> None:
    """By Inductor itself, for the CPU, in the folder that docs/training.md names."""
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    import torch._inductor.compile_fx  # once, and not in each of the processes

    folder = tmp_path / "inductor"

    def work() -> None:
        from torch._inductor import config

        config.cpp_cache_precompile_headers = config.cpp.vec_isa_ok = False  # they take longer than the code
        os.environ.update(TORCHINDUCTOR_CACHE_DIR=str(folder), TORCHINDUCTOR_COMPILE_THREADS="1")
        block = nn.GELU()
        compile_blocks(nn.ModuleList([nn.ModuleList([block])]))
        with torch.no_grad():
            block(torch.ones(64))
        (tmp_path / "counters.json").write_text(json.dumps(torch._dynamo.utils.counters["inductor"]))

    found, built = [], []
    for _ in range(2):
        ranks.run(1, work)
        found.append(json.loads((tmp_path / "counters.json").read_text()))
        built.append({path: path.stat().st_mtime_ns for path in folder.rglob("*.so")})
    assert found == [{"fxgraph_cache_miss": 1}, {"fxgraph_cache_hit": 1}]
    assert built[0] == built[1] and len(built[0]) == 1
