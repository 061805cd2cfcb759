"""Flower: a strategy whose aggregation is a defense of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fl_platform.adapters.packages import needed
from fl_platform.core import Updates
from fl_platform.core.context import Context
from fl_platform.core.rule import first_parameters
from fl_platform.defenses import Chain


def flower_strategy(
    defense: Callable[..., Any],
    num_byzantine: int,
    *,
    attack: Callable[..., Any] | None = None,
    **settings: Any,
) -> Any:
    """Flower's ``FedAvg`` (message API) with ``w - defense(w - w_i)`` in place of its average.

    Args:
        defense: a defense or a `Chain`; what its parts ask for beside the rows (clients, round,
            sizes, model, layers) is passed on. A server's own reference is not known here.
        num_byzantine: f, as the defense assumes it; lowered to its limit where fewer reply.
        attack: simulates f Byzantine nodes, the f that reply first in the first round, whose
            updates are replaced by the attack's rows. Default: no node.
        settings: of ``flwr.serverapp.strategy.FedAvg``: ``fraction_train``, ...

    Returns:
        A ``flwr.serverapp.strategy.FedAvg``. Arrays that are not floating point (counters of
        batch normalisation) get Flower's average, rounded; metrics are its average too. Its
        ``aggregate`` is the last round's `Aggregate`, and ``replied`` the nodes in order of their
        first reply.

    Raises:
        MissingPackage: Flower is not installed.
    """
    strategies, app = needed("flwr.serverapp.strategy"), needed("flwr.app")

    class RobustStrategy(strategies.FedAvg):  # type: ignore[name-defined]
        aggregate: Any = None

        @property
        def replied(self) -> list[int]:
            return [*server.numbers]

        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            self.sent = arrays
            return super().configure_train(server_round, arrays, config, grid)

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            replies = list(replies)
            averaged, metrics = super().aggregate_train(server_round, replies)
            valid = [reply for reply in replies if not reply.has_error()]
            if averaged is None:
                return averaged, metrics
            known = {name: array.numpy() for name, array in self.sent.items()}
            names = [name for name, value in known.items() if value.dtype.kind == "f"]
            model = flat([known[name] for name in names])
            trained = [next(iter(r.content.array_records.values())) for r in valid]
            rows = [model - flat([one[name].numpy() for name in names]) for one in trained]
            counts = [next(iter(r.content.metric_records.values())) for r in valid]
            context = Context(
                clients=torch.tensor([server.number(r.metadata.src_node_id) for r in valid]),
                round=server_round - 1,
                sizes=torch.tensor([float(one[self.weighted_by_key]) for one in counts]),
                model=model,
                layers=tuple(known[name].size for name in names),
            )
            self.aggregate = server.step(torch.stack(rows), context)
            moved = (model - self.aggregate.vector).split(list(context.layers or ()))
            new = {name: rounded(averaged[name], like, app) for name, like in known.items()}
            for name, part in zip(names, moved, strict=True):
                new[name] = app.Array(
                    part.numpy().reshape(known[name].shape).astype(known[name].dtype)
                )
            return app.ArrayRecord(new), metrics

    server = _Server(defense, num_byzantine, attack)
    return RobustStrategy(**settings)


def rounded(average: Any, like: Any, app: Any) -> Any:
    """An averaged array in the dtype of the array before it; Flower's average is a float."""
    if like.dtype.kind == "f":
        return average
    kept = like.copy()
    kept[...] = average.numpy().round()
    return app.Array(kept)


class _Server:
    """The part of the strategy that knows nothing of Flower."""

    def __init__(
        self, defense: Callable[..., Any], f: int, attack: Callable[..., Any] | None
    ) -> None:
        self.chain = defense if isinstance(defense, Chain) else Chain(defense)
        self.f, self.attack = f, attack
        self.numbers: dict[int, int] = {}

    def number(self, node: int) -> int:
        """The nodes in order of their first reply."""
        return self.numbers.setdefault(node, len(self.numbers))

    def step(self, rows: Tensor, context: Context) -> Any:
        """The aggregate of rows ``(m, d)``, after the attack."""
        if self.attack is not None and context.clients is not None:
            byzantine = context.clients < self.f
            if bool(byzantine.any()) and not bool(byzantine.all()):
                rows = rows.clone()
                rows[byzantine] = self._attacked(rows, byzantine, context)
        return self.chain(Updates(rows), self.f, context=context)

    def _attacked(self, rows: Tensor, byzantine: Tensor, context: Context) -> Tensor:
        honest, count = Updates(rows[~byzantine]), int(byzantine.sum())
        given: dict[str, Any] = {"round": context.round, "model": context.model}

        def query(sent: Tensor) -> Tensor:
            return self.chain.rule(Updates(torch.cat([honest.matrix, sent.to(rows)])), count).vector

        given["query"] = query
        asked = [name for name in first_parameters(self.attack) if name in given]
        assert self.attack is not None
        sent: Tensor = self.attack(honest, count, **{name: given[name] for name in asked})
        return sent.to(rows)


def flat(arrays: Sequence[Any]) -> Tensor:
    """``(d,)`` all arrays, one after another, in the widest floating-point type among them."""
    return torch.cat([torch.from_numpy(array.copy()).reshape(-1) for array in arrays])
