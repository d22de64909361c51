"""What is wrong with a cluster's address is said at once, in a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import ray

from pipeline.cli import main
from pipeline.config_errors import ConfigError
from pipeline.training.ray_train import start
from pipeline.workers.executor import RayExecutor
from pipeline.workers.ray_address import check, describe_wrong_version

TOKEN = "t" * 64


class Guarded(grpc.GenericRpcHandler):
    """Answers whoever has the token, as Ray's head does."""

    def service(self, details: Any) -> Any:
        allowed = f"Bearer {TOKEN}" in dict(details.invocation_metadata).get("authorization", "")

        def answer(_: bytes, context: Any) -> bytes:
            if not allowed:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return b"an id"

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A cluster that wants a token; this process has none."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "auth_token"))
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Guarded()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0)


def test_a_cluster_that_wants_a_token(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"asks for a token, and this process has none: .* RAY_AUTH_TOKEN"):
        check(address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "w" * 64)
    with pytest.raises(ConfigError, match="asks for a token, and this process has another"):
        check(address)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    (tmp_path / "auth_token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    check(address)
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_nothing_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.warc.gz").write_bytes(b"")
    words = ["--set", f"sources=[{tmp_path}/a.warc.gz]", "--out", f"{tmp_path}/out", "--address", "127.0.0.1:1"]
    assert main(["run", "archive", *words]) == 2
    said = capsys.readouterr().err.strip()
    assert "no Ray cluster answers at 127.0.0.1:1; start one with `ray start --head`" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("other", ["auto", "ray://127.0.0.1:10001", "local"])
def test_other_addresses_are_rays_own_business(other: str) -> None:
    check(other)


MISMATCH = (
    "Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n    Python: 3.11.4\n"
    "This process on node 10.0.0.1 was started with:\n    Ray: 2.53.0\n    Python: 3.12.1\n"
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError(MISMATCH), "the Ray cluster at auto runs Ray 2.50.0 on Python 3.11.4, and this is Ray 2.53.0"),
        (ConnectionError("none"), "no Ray cluster answers at auto; start one with"),
    ],
)
def test_a_build_and_a_training_say_what_is_wrong_with_a_cluster(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**options: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConfigError, match=told):
        RayExecutor(None, "auto")
    with pytest.raises(ConfigError, match=told):
        start("auto", 1)


def test_another_version_is_named() -> None:
    error = describe_wrong_version("head:6379", RuntimeError(MISMATCH))
    assert str(error) == (
        "the Ray cluster at head:6379 runs Ray 2.50.0 on Python 3.11.4, and this is Ray 2.53.0 on Python 3.12.1; "
        "both must have the same"
    )
    assert describe_wrong_version("head:6379", RuntimeError("something else")) is None
