"""The files of a checkpoint for torch.distributed.checkpoint (DCP), in any storage; reading a stranger's runs no
code."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystemBase
from torch.distributed.checkpoint.metadata import Metadata

from dataset.store.storage import Storage

_DESCRIPTIONS = {
    "torch": ("Size",),
    "torch.serialization": ("_get_layout",),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.distributed.checkpoint.metadata": (
        "Metadata", "MetadataIndex", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata",
        "BytesStorageMetadata", "StorageMeta", "_MEM_FORMAT_ENCODING",
    ),
}  # fmt: skip
"""The classes that a checkpoint's pickled `.metadata` may name; any other is refused before it is imported."""


class _Files(FileSystemBase):
    """A run's storage as DCP's file system; its paths are names in the run."""

    def __init__(self, run: Storage):
        self.run = run

    @contextlib.contextmanager
    def create_stream(self, path: Any, mode: str) -> Generator[io.IOBase, None, None]:
        with self.run.open_output(path) if mode == "wb" else self.run.open(path) as stream:
            yield stream
        if mode == "wb" and self.run.local:  # on the disk before `latest` names it, should the machine lose its power
            with Path(self.run.path(path)).open("rb") as written:
                os.fsync(written.fileno())

    def concat_path(self, path: Any, suffix: str) -> str:
        return f"{path}/{suffix}"

    def rename(self, path: Any, new_path: Any) -> None:
        self.run.write(new_path, self.run.read(path))
        self.run.delete([path])

    def init_path(self, path: Any) -> str:
        return str(path)

    def mkdir(self, path: Any) -> None:
        """A file's folder is made with it."""

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        return True

    def exists(self, path: Any) -> bool:
        return self.run.exists(path)

    def rm_file(self, path: Any) -> None:
        self.run.delete([path])


class CheckpointWriter(dcp.FileSystemWriter):
    """Writes to a run's storage; its last act, on rank 0 and after all processes', is `publish`."""

    def __init__(self, run: Storage, name: str, publish: Callable[[], None]):
        super().__init__(name, sync_files=False, per_thread_copy_ahead=0)  # nothing lies on a GPU any more
        self.fs = _Files(run)  # type: ignore[assignment] # its attribute is typed too narrowly
        self.path = name  # type: ignore[assignment] # a name in the run
        self._publish = publish

    def finish(self, metadata: Metadata, results: Any) -> None:
        super().finish(metadata, results)
        self._publish()


class CheckpointReader(dcp.FileSystemReader):
    """Reads from a run's storage; a file is read as data and cannot name code to run."""

    def __init__(self, run: Storage, name: str):
        super().__init__(name)
        self.run = run
        self.fs = _Files(run)  # type: ignore[assignment] # its attribute is typed too narrowly
        self.path = name  # type: ignore[assignment] # a name in the run

    def _slice_file(self, file: Any, sinfo: Any) -> Any:
        # torch.load reads a tensor in some twenty pieces, each of which a bucket answers with a request of its own.
        if self.run.local:
            return super()._slice_file(file, sinfo)
        file.seek(sinfo.offset)
        return io.BytesIO(file.read(min(sinfo.length, file.size() - sinfo.offset)))

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        # DCP would unpickle whatever the file says, and with it run any code that a stranger's checkpoint brings.
        pickled = self.run.read(f"{self.path}/.metadata")
        _check_places(pickled)
        metadata = _Unpickler(io.BytesIO(pickled)).load()
        if not isinstance(metadata, Metadata):
            raise TypeError("no metadata")
        return metadata


def _check_places(pickled: bytes) -> None:
    """Check that a pickle keeps nothing at a place beyond its own length: room for all places below is made at once, of
    16 GB for the highest there can be. Raises UnpicklingError.
    """
    try:
        for opcode, place, _ in pickletools.genops(pickled):
            if opcode.name.endswith("PUT") and place is not None and place > len(pickled):
                raise pickle.UnpicklingError(f"place {place}")
    except ValueError as error:
        raise pickle.UnpicklingError(str(error)) from None


class _Unpickler(pickle.Unpickler):
    """Unpickles DCP's descriptions and torch's types, and nothing that acts."""

    def find_class(self, module: str, name: str) -> Any:
        dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if not dtype and name not in _DESCRIPTIONS.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)
