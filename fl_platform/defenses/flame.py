"""FLAME: the majority cluster of directions, clipped to the median length, plus noise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates, generator
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule
from fl_platform.defenses.norm_bound import middle_value


@rule(
    label="FLAME",
    tolerates=lambda n: (n - 1) // 2,
    shardable=lambda rule: rule.noise == 0 or "draws noise for every coordinate (noise=0 does not)",
)
class Flame:
    r"""The mean of the clipped rows in the cluster of more than half, plus Gaussian noise.

    .. math:: L = \text{HDBSCAN}(1 - \cos), \quad S = \operatorname{med}_i \|g_i\|, \quad
        \hat g = \frac{1}{|L|} \sum_{i \in L} g_i \min(1, S / \|g_i\|) +
        N(0, (\lambda S)^2)

    With a least cluster size of n / 2 + 1, one sample as density and a single cluster allowed,
    HDBSCAN is single linkage: the first connected group of more than half of all rows that
    appears as the allowed distance grows. It is computed in this way (n - 1 merges of the
    n x n cosine distances; no other package).

    Args:
        seed: of the stream that draws the noise.
        vectors: vectors of the cosines: ``updates`` (FL-Byz-Lib), or ``models`` w - g_i (the
            paper, FLPoison), which require ``model`` in each call.
        noise: lambda; 0.001 in the paper for image classification, 0 for no noise. With noise the
            aggregate is not a combination of rows, so there are no weights.

    Guarantees, in the paper, differential privacy against backdoors; no kappa: a far group of
    n / 2 rows in another direction has no influence, but any direction within the larger cone
    is accepted. Cost: three reads of the matrix and the Gram.

    References:
        Nguyen et al., FLAME: Taming Backdoors in Federated Learning, USENIX Security 2022,
        Algorithm 1.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        vectors: Literal["updates", "models"] = "updates",
        noise: Annotated[float, AtLeast(0)] = 0.001,
    ) -> None:
        if vectors not in ("updates", "models") or not noise >= 0:
            raise ValueError(
                "Expected vectors as updates or models and noise >= 0,"
                f" got {vectors!r} and {noise}."
            )
        self.seed, self.vectors, self.noise = seed, vectors, noise
        self.calls = 0

    def __call__(
        self, updates: Updates, num_byzantine: int, model: Tensor | None = None
    ) -> Aggregate:
        """The clipped mean of the admitted rows; f < n / 2 is checked and not used."""
        squares = own = updates.squared_norms()
        if self.vectors == "models":
            if model is None or model.shape != (updates.dimension,):
                raise ValueError(
                    f"Expected a model of shape ({updates.dimension},) for flame with"
                    " vectors=models, got none of that shape; pass model=, or use"
                    " vectors=updates."
                )
            own = updates.squared_distances_to(model)
        admitted = majority_cluster(cosine_distances(updates.squared_distances(), own))
        lengths = squares.sqrt()
        most = middle_value(lengths)
        scales = torch.where(lengths > most, most / lengths, 1.0)
        weights = torch.where(admitted, scales, 0.0) / admitted.sum()
        vector = updates.combine(weights)
        stream = generator(self.seed, "flame", self.calls)
        self.calls += 1
        if self.noise == 0:
            return Aggregate(vector, weights, float(1 - weights.sum()))
        drawn = torch.randn(updates.dimension, generator=stream).to(vector)
        return Aggregate(vector + self.noise * float(most) * drawn)

    def state_dict(self) -> dict[str, Any]:
        """The number of calls, which determines the next draw."""
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the number of calls."""
        self.calls = int(state["calls"])


def cosine_distances(squares: Tensor, norms: Tensor) -> Tensor:
    """``(n, n)`` 1 - cosine from squared distances and squared lengths; 1 with a row of zeros.

    .. math:: 1 - \\cos_{ij} = \\frac{\\|g_i - g_j\\|^2 - (\\|g_i\\| - \\|g_j\\|)^2}
        {2 \\|g_i\\| \\|g_j\\|}
    """
    lengths = norms.sqrt()
    both = 2 * lengths[:, None] * lengths
    apart = (squares - (lengths[:, None] - lengths).square()).clamp_min(0)
    return torch.where(both > 0, apart / both, 1.0).fill_diagonal_(0)


def majority_cluster(distances: Tensor) -> Tensor:
    """``(n,)`` mask of the first single-linkage group of more than half of the rows."""
    n = len(distances)
    labels = torch.arange(n)
    upper = torch.triu_indices(n, n, 1)
    order = distances.cpu()[upper[0], upper[1]].argsort(stable=True)
    for i, j in upper[:, order].T.tolist():
        labels[labels == labels[j].clone()] = labels[i].clone()
        group = labels == labels[i]
        if 2 * int(group.sum()) > n:
            return group.to(distances.device)
    return torch.ones(n, dtype=torch.bool, device=distances.device)


flame = Flame
