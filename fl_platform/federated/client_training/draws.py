"""Random draws of local training besides the order of samples: dropout and augmentation.

Both come from streams named by seed, round and client, so that a resumed run draws the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fl_platform.core.rng import generator, stream_seed
from fl_platform.federated.client_training.settings import LocalTraining


def draws_numbers(model: nn.Module) -> bool:
    """True if training the model draws random numbers: it has dropout layers, or states it.

    A network that draws in its own ``forward`` states it by ``draws_random_numbers = True``.
    """
    return any(
        isinstance(module, nn.modules.dropout._DropoutNd)
        or getattr(module, "draws_random_numbers", False)
        for module in model.modules()
    )


@contextmanager
def named_draws(
    active: bool, seed: int, round_index: int, client: int, device: torch.device
) -> Iterator[None]:
    """torch's global generators set from the stream ("dropout", round, client) in this block.

    Dropout layers accept no generator of their own. If not ``active``, nothing is changed.
    """
    if not active:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(stream_seed(seed, "dropout", round_index, client))
        yield


class Augmentation:
    """Random crops and flips of a client's images in one round.

    Each image is padded with ``crop`` zero pixels at each side and cut back to its size at a random
    place, then mirrored left to right with probability 1/2. The draws come from the stream
    ("augmentation", round, client), three numbers per image, on the CPU.

    Args:
        settings: ``crop`` and ``flip``.
        seed: the run's seed.
        round_index: t.
        client: its id.
    """

    def __init__(self, settings: LocalTraining, seed: int, round_index: int, client: int) -> None:
        self.crop, self.flip = settings.crop, settings.flip
        self.draws = generator(seed, "augmentation", round_index, client)

    def __call__(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` changed images, on the device of ``images``."""
        count = len(images)
        places = torch.randint(2 * self.crop + 1, (2, count), generator=self.draws)
        turned = torch.randint(2, (count,), generator=self.draws).bool() & self.flip
        if images.ndim != 4:
            raise ValueError(f"Expected images (B, C, H, W) to crop or flip, got {images.shape}.")
        device = images.device
        top, left = places.to(device, non_blocking=True)
        return crop_and_flip(images, self.crop, top, left, turned.to(device, non_blocking=True))


def crop_and_flip(
    images: Tensor, padding: int, top: Tensor, left: Tensor, turned: Tensor
) -> Tensor:
    """Cut each zero-padded image back to its size at ``(top, left)``; turn those of ``turned``.

    Args:
        images: ``(B, C, H, W)``.
        padding: pixels at each side.
        top: ``(B,)`` first row of the cut, from 0 to twice the padding.
        left: ``(B,)`` first column of it.
        turned: ``(B,)`` whether to exchange left and right.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (padding,) * 4)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(len(images), -1)
    columns = left[:, None] + torch.where(turned[:, None], width - 1 - columns, columns)
    which = torch.arange(len(images), device=images.device)[:, None, None]
    cut = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2).contiguous()
