"""Networks of many clients side by side: a forward pass over stacked parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Forward = Callable[[dict[str, Tensor], Tensor], Tensor]


def stacked_forward(model: nn.Module) -> Forward:
    """The forward pass of C copies of ``model``.

    Perceptrons become one batched matrix product a layer; any other network goes through
    ``torch.func.vmap``, which costs more than the arithmetic itself when layers are tiny.

    Returns:
        A function of parameters by name, each ``(C, *shape)``, and inputs ``(C, B, ...)``, that
        returns outputs ``(C, B, ...)``.
    """
    if is_perceptron(model):
        return _perceptron(model)

    def one(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        result: Tensor = functional_call(model, parameters, (inputs,))
        return result

    return vmap(one)


def is_perceptron(model: nn.Module) -> bool:
    """Whether it is a plain chain: flatten, then linear layers and ReLUs, each used once."""
    kinds = (nn.Flatten, nn.Linear, nn.ReLU)
    if type(model) is not nn.Sequential or not len(model):
        return False
    layers = list(model)
    flat = isinstance(layers[0], nn.Flatten) and layers[0].start_dim == 1
    plain = all(type(layer) in kinds for layer in layers) and len(set(layers)) == len(layers)
    hooked = any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)
    return flat and plain and not hooked


def _perceptron(model: nn.Module) -> Forward:
    def forward(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        # features x samples, so that the gradient of a weight comes out in the weight's layout
        hidden = inputs.flatten(2).transpose(1, 2)
        for name, layer in model.named_children():
            if isinstance(layer, nn.ReLU):
                hidden = hidden.relu()
            elif isinstance(layer, nn.Linear):
                weight, bias = parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
                if bias is None:
                    hidden = torch.bmm(weight, hidden)
                else:
                    hidden = torch.baddbmm(bias[:, :, None], weight, hidden)
        return hidden.transpose(1, 2)

    return forward


def cross_entropy(outputs: Tensor, targets: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy of many clients, and its gradient.

    In closed form, ``(softmax(z) - onehot(y)) * share``: torch's own log-softmax is slow over
    few classes.

    Args:
        outputs: ``(C, B, K)`` logits.
        targets: ``(C, B)``.
        shares: ``(C, B)`` weight of each sample.

    Returns:
        Losses ``(C,)``, and the gradient of their sum to ``outputs``.
    """
    outputs = outputs.detach()
    logits = outputs if outputs.dtype == torch.float64 else outputs.float()
    shifted = logits - logits.amax(-1, keepdim=True)
    truth = targets[..., None]
    gradient = shifted.exp()
    total = gradient.sum(-1, keepdim=True)
    losses = ((total.log() - shifted.gather(-1, truth))[..., 0] * shares).sum(-1)
    gradient.div_(total)
    gradient.scatter_add_(-1, truth, -torch.ones_like(truth, dtype=gradient.dtype))
    return losses, gradient.mul_(shares[..., None]).to(outputs.dtype)
