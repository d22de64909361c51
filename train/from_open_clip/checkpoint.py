"""A checkpoint of open_clip_train (`epoch_5.pt`), from which a run of ours goes on."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dataset.store.storage import absolute, is_local, open_input
from train.distributed.parallelize import fill

_PREFIXES = re.compile(r"^(?:module\.|_orig_mod\.)+")
"""What DistributedDataParallel and torch.compile put before a parameter's name."""
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_SCALER = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}

Resize = Callable[[str, Tensor], Tensor]


class Checkpoint:
    """What the file has, read as tensors and numbers alone.

    Raises:
        ValueError: it is no checkpoint of open_clip_train's.
        FileNotFoundError: there is none.
    """

    def __init__(self, url: str):
        self.url = url
        raw = _load(url)
        if "epoch" not in raw and _are_weights(raw.get("state_dict", raw)):
            raise ValueError(f"resume {url!r} has weights alone; name them by the key pretrained")
        try:
            self.epoch = int(raw["epoch"])
            self._weights = {_strip_prefixes(name): value for name, value in raw["state_dict"].items()}
            self._state = {int(number): dict(moments) for number, moments in raw["optimizer"]["state"].items()}
            self._groups = [list(map(int, group["params"])) for group in raw["optimizer"]["param_groups"]]
            scaler = raw.get("scaler") or {}
            self.scaler = {name: float(scaler[name]) for name in _SCALER} if scaler else {}
            counted = [int(moments["step"]) for moments in self._state.values() if "step" in moments]
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError):
            raise _not_a_checkpoint(url) from None
        if min([self.epoch, *counted]) < 0 or not _are_weights(self._weights):
            raise _not_a_checkpoint(url)
        for name in ("growth_interval", "_growth_tracker"):
            if name in self.scaler:
                self.scaler[name] = int(self.scaler[name])
        self._counted = max(counted, default=0)

    def step(self, steps_per_epoch: float) -> int:
        """Return how many steps the run has made: as its optimizer has counted them, else by its epochs."""
        return self._counted or round(self.epoch * steps_per_epoch)

    def begin(
        self, model: nn.Module, tensors: Mapping[str, Tensor], resize: Resize, steps_per_epoch: float
    ) -> list[str]:
        """Fill a run's tensors, by their names in our checkpoints, with those of the file.

        Args:
            model: the model, with its locked tower locked.
            tensors: those of the model, its moving average and the optimizers, which are written to.
            resize: (name, tensor of another shape) -> tensor of the shape that is wanted, or KeyError.

        Returns:
            Sentences about what the file has not, and about what does not agree.

        Raises:
            ValueError: it is of another model.
        """
        if more := sorted(name for name in self._weights if f"model.{name}" not in tensors and not _is_made(name)):
            raise ValueError(
                f"checkpoint.resume {self.url!r} is of another model: it has {more[0]}, which this one has not"
            )
        moments = self._moments(model)
        anew: set[str] = set()
        for name, target in tensors.items():
            kind, _, rest = name.partition(".")
            values = moments.get(name) if kind == "optimizer" else self._weights.get(rest)
            if values is None and kind == "optimizer":
                anew.add(rest.removeprefix("state.").rpartition(".")[0])
                continue
            try:
                if values is None:
                    raise KeyError(name)
                fill(target, values if values.shape == target.shape else resize(name, values))
            except Exception:  # open_clip raises anything on position embeddings of another width
                has = "nothing" if values is None else f"shape {tuple(values.shape)}"
                wanted = tuple(target.shape)
                raise ValueError(
                    f"checkpoint.resume {self.url!r} is of another model: of {rest} it has {has}, not shape {wanted}"
                ) from None
        sentences = []
        if anew:
            sentences.append(f"the optimizer's state of {len(anew)} parameters is not in it, and begins anew")
        expected = self.epoch * steps_per_epoch
        if self._counted and abs(self._counted - expected) > max(2, 0.1 * expected):
            sentences.append(
                f"its {self.epoch} epochs had {self._counted} steps, and have {expected:.0f} here: "
                "batch_size or the dataset is another"
            )
        return sentences

    def _moments(self, model: nn.Module) -> dict[str, Tensor]:
        """The optimizer's tensors by our names, of parameters whose order and shapes agree."""
        learning = [(_strip_prefixes(name), value) for name, value in model.named_parameters() if value.requires_grad]
        groups = [
            [(name, value) for name, value in learning if _is_gain_or_bias(name, value)],
            [(name, value) for name, value in learning if not _is_gain_or_bias(name, value)],
        ]
        if [len(group) for group in groups] != [len(group) for group in self._groups]:
            return {}
        moments_of: dict[str, Tensor] = {}
        for group, numbers in zip(groups, self._groups, strict=True):
            for (name, parameter), number in zip(group, numbers, strict=True):
                moments = self._state.get(number, {})
                if all(isinstance(moments.get(key), Tensor) for key in _MOMENTS) and all(
                    moments[key].shape == parameter.shape or "positional_embedding" in name for key in _MOMENTS[:2]
                ):
                    moments_of |= {f"optimizer.state.{name}.{key}": moments[key] for key in _MOMENTS}
        return moments_of


def _is_made(name: str) -> bool:
    """Whether a name is of what older versions stored, and models make anew."""
    return name.endswith(("attn_mask", "position_ids"))


def _is_gain_or_bias(name: str, parameter: Tensor) -> bool:
    """The rule by which open_clip_train parts the parameters into those that are decayed and those that are not."""
    return parameter.ndim < 2 or any(part in name for part in ("bn", "ln", "bias", "logit_scale"))


def _load(url: str) -> dict[str, Any]:
    try:
        if is_local(url):
            path = absolute(url)
            raw = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        else:
            with open_input(url) as file:
                raw = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"resume names {url}, which does not exist") from None
    except (
        Exception
    ) as error:  # torch raises anything on bytes that it did not write, or that would do more than be read
        raise _not_a_checkpoint(url) from error
    if not isinstance(raw, dict):
        raise _not_a_checkpoint(url)
    return raw


def _are_weights(values: Any) -> bool:
    return isinstance(values, dict) and bool(values) and all(isinstance(value, Tensor) for value in values.values())


def _strip_prefixes(name: str) -> str:
    return _PREFIXES.sub("", name)


def _not_a_checkpoint(url: str) -> ValueError:
    return ValueError(f"resume {url!r} is no checkpoint of open_clip_train's with weights, optimizer and epoch")
