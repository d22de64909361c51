"""Whether a Ray cluster answers at an address and lets this process in, asked before Ray tries for half a minute."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pipeline.config_errors import ConfigError

_ANSWER_SECONDS = 10.0
_METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"  # the first thing that Ray itself asks of a cluster
_TOKEN_FILE = "~/.ray/auth_token"  # noqa: S105 (where Ray's documentation puts it)


def join(options: dict[str, Any]) -> None:
    """Join the cluster whose `address` is among the options of `ray.init`, or begin a Ray on this machine (`local`).

    Raises:
        ConfigError: nothing answers there, or the cluster wants a token that this process has not, or runs another
            version of Ray or Python.
    """
    import ray

    address = options["address"]
    check(address)
    try:
        ray.init(**options)
    except ConnectionError as error:
        raise ConfigError(
            f"no Ray cluster answers at {address}; start one with `ray start --head`, "
            "or leave out --address to run on this machine"
        ) from error
    except RuntimeError as error:
        if (known := describe_wrong_version(address, error)) is not None:
            raise known from error
        raise


def check(address: str) -> None:
    """Ask the cluster at HOST:PORT who it is. Turns Ray's token authentication on if the cluster wants it.

    Addresses of another kind (`auto`, `ray://…`) are left to Ray.

    Raises:
        ConfigError: nothing answers, or the cluster wants a token that this process has not.
    """
    if not re.fullmatch(r"(\[[^\]]+\]|[^:/]+):\d+", address):
        return
    refusal = _refusal(address, None)
    if refusal == "UNAUTHENTICATED":
        token = _token()
        if token is None or _refusal(address, token) == "UNAUTHENTICATED":
            lacks = "has none" if token is None else "has another"
            raise ConfigError(
                f"the Ray cluster at {address} asks for a token, and this process {lacks}: put the cluster's into "
                f"RAY_AUTH_TOKEN, or into {_TOKEN_FILE}"
            )
        from ray._raylet import Config  # type: ignore[attr-defined]

        os.environ["RAY_AUTH_MODE"] = "token"
        Config.initialize("")  # Ray has read the environment already
    elif refusal in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        raise ConfigError(
            f"no Ray cluster answers at {address}; start one with `ray start --head`, whose port is 6379 and not its "
            "dashboard's 8265, or leave out --address to run on this machine"
        )


def describe_wrong_version(address: str, error: RuntimeError) -> ConfigError | None:
    """Return what Ray says of a cluster of another version, as a sentence; None if that is not what it says."""
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", str(error))
    if "Version mismatch" not in str(error) or len(versions) != 2:
        return None
    theirs, ours = (f"Ray {ray} on Python {python}" for ray, python in versions)
    return ConfigError(f"the Ray cluster at {address} runs {theirs}, and this is {ours}; both must have the same")


def _refusal(address: str, token: str | None) -> str | None:
    """The gRPC status by which a cluster refuses a question; None if it answers."""
    import grpc

    said = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(_METHOD, request_serializer=None, response_deserializer=None)
        try:
            ask(b"", timeout=_ANSWER_SECONDS, metadata=said)
        except grpc.RpcError as error:
            return str(error.code().name)
    return None


def _token() -> str | None:
    """The token that Ray would send: RAY_AUTH_TOKEN, the file of RAY_AUTH_TOKEN_PATH, or the file in the home."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or _TOKEN_FILE).expanduser()
    return file.read_text(encoding="utf-8").strip() or None if file.is_file() else None
