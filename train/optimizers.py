"""What turns gradients into weights: optimizers, the norm of the gradients, the moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Muon
from torch.optim.swa_utils import get_ema_multi_avg_fn

from train.distributed.parallelize import full_tensor
from train.sections import OptimizerConfig

_FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


def make_optimizers(model: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Make AdamW, by default with the paper's betas; gains, biases and the logit scale are not decayed (Radford et al.
    2021, §2.5).

    The paper's betas and epsilon: Table 19; a tower with a convolution deeper than its stem counts as a ResNet. With
    name: muon the matrices within the towers' blocks are Muon's, whose updates are scaled to the size of AdamW's
    (Liu et al. 2025, §2.2), so that one learning rate and decay suit both.
    """
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    beta2, epsilon = (0.98, 1e-6) if convolutions <= 1 else (0.999, 1e-8)
    betas, epsilon = (config.beta1, config.beta2 or beta2), config.epsilon or epsilon
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    hidden = _hidden_matrices(named) if config.name == "muon" else []
    taken = {id(parameter) for parameter in hidden}
    rest = [parameter for _, parameter in named if id(parameter) not in taken]
    groups = [
        {"params": [parameter for parameter in rest if parameter.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in rest if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=epsilon, fused=True)
    ]
    if hidden:
        decay = config.weight_decay
        optimizers.append(Muon(hidden, lr=config.learning_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def _hidden_matrices(named: Iterable[tuple[str, nn.Parameter]]) -> list[nn.Parameter]:
    """The matrices of numbered blocks: not embeddings, and not the projections to the common space."""
    return [
        parameter
        for name, parameter in named
        if parameter.ndim == 2 and any(part.isdigit() for part in name.split(".")) and "embed" not in name
    ]


def state_of(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the optimizers' tensors by the parameters' names; before the first step, as they are then."""
    state: dict[str, Any] = dict(get_optimizer_state_dict(model, optimizers, options=_FLAT))
    return {f"optimizer.{name}": value for name, value in state.items() if isinstance(value, Tensor)}


def load_state(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    """Fill the optimizers with what `state_of` returned."""
    state: dict[str, Any] = dict(get_optimizer_state_dict(model, optimizers, options=_FLAT))
    state.update({name.removeprefix("optimizer."): value for name, value in tensors.items()})
    set_optimizer_state_dict(model, optimizers, optim_state_dict=state, options=_FLAT)


def gradient_norms(model: nn.Module) -> dict[str, Tensor]:
    """Return the norms of the gradients of each tower, {"image": scalar, "text": scalar, "rest": scalar}, and "all" of
    them.

    The rest is the logit scale and bias. A tower without gradients has 0.
    """
    gradients: dict[str, list[Tensor]] = {"image": [], "text": [], "rest": []}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            gradients[tower_of(name)].append(parameter.grad)
    none = torch.zeros((), device=next(model.parameters()).device)  # from the CPU it would have to wait for the GPU
    norms = {
        tower: full_tensor(nn.utils.get_total_norm(values)).float() if values else none
        for tower, values in gradients.items()
    }
    norms["all"] = torch.stack(list(norms.values())).norm()
    return norms


def tower_of(name: str) -> str:
    """Return image, text or rest: the part of an open_clip model that a parameter, by its name, belongs to."""
    if name.startswith("visual."):
        return "image"
    return "rest" if name.startswith("logit_") else "text"


def clip_gradients(model: nn.Module, norm: Tensor, most: float) -> None:
    """Scale all gradients down so that their norm, which is given, is no more than `most`."""
    nn.utils.clip_grads_with_norm_(model.parameters(), most, norm)


class MovingAverage:
    """A moving average of a model's parameters, in their own shards: average = decay · average + (1 - decay) · now."""

    def __init__(self, model: nn.Module, decay: float):
        self.named = {name: parameter.detach() for name, parameter in model.named_parameters()}
        self.average = {name: value.clone() for name, value in self.named.items()}
        self._update = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are now."""
        self._update(list(self.average.values()), list(self.named.values()), 0)

    @torch.no_grad()
    def exchange(self) -> None:
        """Have the model compute with the average; once more, and it has its own parameters again, bit for bit."""
        for name, value in self.named.items():
            before = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(before)
