"""ResNet-20 for small images, with group normalisation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64)
BLOCKS = 3
GROUPS = 8


class _Block(nn.Module):
    """Two convolutions beside a shortcut without parameters (option A of the paper)."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.first_norm = norm(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = norm(outputs)
        self.stride, self.more = stride, outputs - inputs

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.first_norm(self.first(images)))
        hidden = self.second_norm(self.second(hidden))
        short = images[:, :, :: self.stride, :: self.stride]
        if self.more:
            short = F.pad(short, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return F.relu(hidden + short)


def resnet20(
    num_classes: int,
    image_shape: tuple[int, ...],
    *,
    norm: Literal["batch", "group"] = "group",
) -> nn.Module:
    """ResNet-20; 269,722 parameters for 10 classes in colour, with either normalisation.

    Args:
        num_classes: outputs.
        image_shape: channels, height, width.
        norm: "group" for 8 groups of channels, or "batch".

    References:
        K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016, Section 4.2;
        Y. Wu, K. He, Group Normalization, ECCV 2018.
    """
    layer: Callable[[int], nn.Module] = (
        nn.BatchNorm2d if norm == "batch" else partial(nn.GroupNorm, GROUPS)
    )
    layers: list[nn.Module] = [
        nn.Conv2d(image_shape[0], WIDTHS[0], 3, padding=1, bias=False),
        layer(WIDTHS[0]),
        nn.ReLU(),
    ]
    before = WIDTHS[0]
    for width in WIDTHS:
        for block in range(BLOCKS):
            stride = 2 if block == 0 and width != WIDTHS[0] else 1
            layers.append(_Block(before, width, stride, layer))
            before = width
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes)]
    return nn.Sequential(*layers, *pooled)
