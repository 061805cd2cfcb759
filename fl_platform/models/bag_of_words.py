"""A network for sequences of tokens."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from fl_platform.core.constraints import AtLeast


class _Mean(nn.Module):
    """The mean over the tokens of a sequence: ``(..., L, E)`` to ``(..., E)``."""

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors.mean(-2)


def bag_of_words(
    num_classes: int,
    image_shape: tuple[int, ...],
    *,
    vocabulary: Annotated[int, AtLeast(2)] = 10000,
    width: Annotated[int, AtLeast(1)] = 64,
) -> nn.Module:
    """The mean of the tokens' vectors, then a linear layer.

    Padding tokens count like any other token.

    Args:
        num_classes: outputs.
        image_shape: ``(L,)``, the length of a sequence.
        vocabulary: tokens are numbers below it.
        width: size of a token's vector.

    Raises:
        ValueError: inputs that are not sequences.
    """
    if len(image_shape) != 1:
        raise ValueError(f"bag_of_words needs sequences of tokens (L,), got inputs {image_shape}.")
    return nn.Sequential(nn.Embedding(vocabulary, width), _Mean(), nn.Linear(width, num_classes))
