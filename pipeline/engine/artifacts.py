"""What one stage of a run leaves for a later one, by a name that has a type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipeline.engine.contract import ContractError

T = TypeVar("T")


@dataclass(frozen=True)
class Artifact(Generic[T]):
    """The name of something that is left; whoever takes it gets a `T`."""

    name: str


class Artifacts:
    """What the stages of a run have left so far."""

    def __init__(self) -> None:
        self._left: dict[str, Any] = {}

    def leave(self, artifact: Artifact[T], value: T) -> None:
        """Leave a value for later stages. Raises ContractError: some stage has left one already."""
        if artifact.name in self._left:
            raise ContractError(f"two stages leave {artifact.name}")
        self._left[artifact.name] = value

    def take(self, artifact: Artifact[T]) -> T:
        """What an earlier stage has left. Raises ContractError: none has."""
        if artifact.name not in self._left:
            raise ContractError(f"no stage before this one leaves {artifact.name}")
        value: T = self._left[artifact.name]
        return value
