"""FLDetector: clients whose updates differ from a prediction of them are left out."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates, generator
from fl_platform.core.constraints import AtLeast
from fl_platform.core.rule import rule
from fl_platform.defenses.histories import Histories, numbered


@rule(
    label="FLDetector",
    tolerates=lambda n: (n - 1) // 2,
    shardable="keeps the last updates of each client",
)
class FlDetector:
    r"""The mean of the clients that two-means on their prediction errors does not flag.

    .. math:: \hat g_i^t = g_i^{t-1} + \hat H^t (w_t - w_{t-1}), \quad
        e_i^t = \frac{\|\hat g_i^t - g_i^t\|}{\sum_j \|\hat g_j^t - g_j^t\|}, \quad
        s_i = \frac1N \sum_{r=0}^{N-1} e_i^{t-r}

    H is the L-BFGS approximation from the last N pairs (w_t - w_{t-1}, A_t - A_{t-1}) of the
    model's and the aggregate's change. Where the gap statistic finds more than one cluster among
    the scores, they are split into two and the one with the larger mean is left out. Both steps
    are exact: in one dimension the best two clusters are a split of the sorted scores.

    Args:
        seed: of the stream that draws the gap statistic's uniform references.
        window: N, 10 in the paper; no client is flagged before N errors are recorded.
        references: number of uniform samples for the gap statistic; 20 in FLPoison.

    A call receives ``clients`` and ``model``. Without ``clients`` row i is client i. A real
    server must identify clients, and stores their last updates and 2 N vectors. A client that
    sent nothing in the last round has no error in this one.

    The paper restarts training without flagged clients; here they are left out of this round and
    tested again in the next.

    Raises:
        ValueError: no model of dimension d.

    Guarantees: no kappa. In the first N rounds the rule is the mean. Cost: the updates are kept,
    and read twice.

    References:
        Zhang, Cao, Jia, Gong, FLDetector: Defending Federated Learning Against Model Poisoning
        Attacks via Detecting Malicious Clients, KDD 2022, Algorithms 1 and 2; Tibshirani,
        Walther, Hastie, Estimating the Number of Clusters via the Gap Statistic, 2001.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        window: Annotated[int, AtLeast(1)] = 10,
        references: Annotated[int, AtLeast(1)] = 20,
    ) -> None:
        if window < 1 or references < 1:
            raise ValueError(
                f"Expected window >= 1 and references >= 1, got {window} and {references}."
            )
        self.seed, self.window, self.references = seed, window, references
        self.calls = 0
        self.last = Histories()
        self.sent = torch.empty(0, dtype=torch.int64)  # clients that sent a row in the last round
        self.errors = torch.empty(0, 0, dtype=torch.float64)  # (known clients, rounds), NaN: none
        self.model: Tensor | None = None
        self.aggregate: Tensor | None = None
        self.steps: list[Tensor] = []
        self.changes: list[Tensor] = []

    def __call__(
        self,
        updates: Updates,
        num_byzantine: int,
        clients: Tensor | None = None,
        model: Tensor | None = None,
    ) -> Aggregate:
        """The mean of the rows that are not flagged; f < n / 2 is checked and not used."""
        if model is None or model.shape != (updates.dimension,):
            raise ValueError(
                f"Expected a model of shape ({updates.dimension},) for fl_detector, got"
                f" {'none' if model is None else tuple(model.shape)}; pass model=."
            )
        model = model.detach().to(updates.device, updates.dtype)
        numbers = numbered(updates, clients)
        places = self.last.places(updates, numbers)
        self._remember_errors(updates, numbers, places, model)
        flagged = self._flagged(places).to(updates.device)
        weights = (~flagged).double() / (~flagged).sum()
        vector = updates.combine(weights)
        self._remember_round(updates, numbers, places, model, vector)
        return Aggregate(vector, weights)

    def _remember_errors(
        self, updates: Updates, numbers: Tensor, places: Tensor, model: Tensor
    ) -> None:
        seen = torch.full((len(self.last.clients), 1), torch.nan, dtype=torch.float64)
        room = torch.full((len(seen) - len(self.errors), self.errors.shape[1]), torch.nan)
        errors = torch.cat([self.errors, room.double()])
        both = torch.isin(numbers, self.sent)
        if self.model is not None and self.steps and bool(both.any()):
            assert self.last.rows is not None
            ahead = hessian_product(self.steps, self.changes, model - self.model)
            squares = torch.zeros(len(updates), dtype=torch.float64, device=updates.device)
            for part, chunk in updates.columns():
                predicted = self.last.rows[places, part] + ahead[part]
                squares += (predicted - chunk).double().square().sum(1)
            distances = squares.sqrt().cpu()[both]
            total = distances.sum()
            if total > 0:
                seen[places[both], 0] = distances / total
                errors = torch.cat([errors, seen], 1)
        self.errors = errors[:, -self.window :]

    def _flagged(self, places: Tensor) -> Tensor:
        nobody = torch.zeros(len(places), dtype=torch.bool)
        if self.errors.shape[1] < self.window:
            return nobody
        scores = self.errors[places].nanmean(1)
        known = scores.isfinite()
        if int(known.sum()) < 3:
            return nobody
        values = scores[known]
        stream = generator(self.seed, "fl_detector", self.calls)
        if not more_than_one_cluster(values, self.references, stream):
            return nobody
        return nobody.masked_scatter(known, values > two_means(values)[0])

    def _remember_round(
        self, updates: Updates, numbers: Tensor, places: Tensor, model: Tensor, vector: Tensor
    ) -> None:
        if self.model is not None and self.aggregate is not None:
            self.steps = [*self.steps, model - self.model][-self.window :]
            self.changes = [*self.changes, vector - self.aggregate][-self.window :]
        assert self.last.rows is not None
        for part, chunk in updates.columns():
            self.last.rows[places, part] = chunk
        self.sent, self.model, self.aggregate = numbers, model.clone(), vector.clone()
        self.calls += 1

    def state_dict(self) -> dict[str, Any]:
        """The state of the next predictions and flags."""
        return {
            "calls": self.calls,
            "last": self.last.state_dict(),
            "sent": self.sent,
            "errors": self.errors,
            "model": self.model,
            "aggregate": self.aggregate,
            "steps": list(self.steps),
            "changes": list(self.changes),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state."""
        self.last.load_state_dict(state["last"])
        for name in ("calls", "sent", "errors", "model", "aggregate"):
            setattr(self, name, state[name])
        self.steps, self.changes = list(state["steps"]), list(state["changes"])


def hessian_product(steps: list[Tensor], changes: list[Tensor], vector: Tensor) -> Tensor:
    """``(d,)`` the L-BFGS matrix of these pairs times ``vector``, in compact form.

    .. math:: B v = \\sigma v - [\\sigma S \\; Y] \\begin{pmatrix} \\sigma S^\\top S & L \\\\
        L^\\top & -D \\end{pmatrix}^{-1} \\begin{pmatrix} \\sigma S^\\top v \\\\ Y^\\top v
        \\end{pmatrix}, \\quad \\sigma = \\frac{y^\\top s}{s^\\top s}

    with s, y the newest pair, L the part of S^T Y below its diagonal and D the diagonal (Byrd,
    Nocedal, Schnabel 1994). Pairs without a step are left out; the pseudo-inverse replaces the
    inverse if the pairs are not independent.
    """
    pairs = [(s, y) for s, y in zip(steps, changes, strict=True) if bool(s.any())]
    if not pairs:
        return torch.zeros_like(vector)
    s, y = (torch.stack(side).double() for side in zip(*pairs, strict=True))  # (k, d)
    direction = vector.double()
    sigma = float(y[-1] @ s[-1] / (s[-1] @ s[-1]))
    between = s @ y.T
    lower = between.tril(-1)
    top = torch.cat([sigma * (s @ s.T), lower], 1)
    bottom = torch.cat([lower.T, -between.diagonal().diag()], 1)
    right = torch.cat([sigma * (s @ direction), y @ direction])
    solved = torch.linalg.pinv(torch.cat([top, bottom])) @ right
    k = len(s)
    product = sigma * direction - sigma * (solved[:k] @ s) - solved[k:] @ y
    return product.to(vector)


def two_means(values: Tensor) -> tuple[float, float]:
    """The largest value of the lower of the best two clusters; their sum of squares."""
    ordered = values.double().sort().values
    n = len(ordered)
    if n < 2:
        return float(ordered[-1]), 0.0
    sums, squares = ordered.cumsum(0), ordered.square().cumsum(0)
    count = torch.arange(1, n, dtype=torch.float64)
    low = squares[:-1] - sums[:-1].square() / count
    high = squares[-1] - squares[:-1] - (sums[-1] - sums[:-1]).square() / (n - count)
    best = int((low + high).argmin())
    return float(ordered[best]), float((low + high)[best].clamp_min(0))


def more_than_one_cluster(values: Tensor, references: int, stream: torch.Generator) -> bool:
    """True if the gap statistic finds more than one cluster.

    One cluster if gap(1) >= gap(2) - s(2), with gap(k) the mean over uniform samples of the log of
    their sum of squares in k clusters minus that of the values.
    """
    low, high = values.min(), values.max()
    if not high > low:
        return False
    scaled = ((values - low) / (high - low)).double()
    drawn = torch.rand(references, len(values), generator=stream, dtype=torch.float64)
    found = [_log_spread(sample) for sample in drawn]
    own = _log_spread(scaled)
    gaps = [sum(one[k] for one in found) / references - own[k] for k in range(2)]
    middle = sum(one[1] for one in found) / references
    spread = math.sqrt(sum((one[1] - middle) ** 2 for one in found) / references)
    return gaps[0] < gaps[1] - spread * math.sqrt(1 + 1 / references)


def _log_spread(values: Tensor) -> tuple[float, float]:
    one = float((values - values.mean()).square().sum())
    tiny = 1e-300
    return math.log(max(one, tiny)), math.log(max(two_means(values)[1], tiny))


fl_detector = FlDetector
