"""A whole defense: input check, mixings, rule; weights refer to the received rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from fl_platform.core import Aggregate, Updates
from fl_platform.core.aggregate import as_aggregate
from fl_platform.core.context import Context, asks, requires
from fl_platform.core.deferred import assumed, sent
from fl_platform.core.rng import stream_seed
from fl_platform.core.rule import as_updates, largest_f, snake_case, unwrapped
from fl_platform.core.rule_state import refuse_lost_memory
from fl_platform.defenses.gate import accepted

# What belongs to one client alone, so that a mixed row has none of it.
PER_CLIENT = {"clients": "the client of each row", "losses": "the loss of each client"}
OnExcessF = Literal["clamp", "keep_model", "error"]


class ExcessByzantine(ValueError):  # noqa: N818 - named after on_excess_f=error
    """A round has more Byzantine rows than the rule tolerates."""


class Chain:
    r"""``input check -> mixings -> rule`` as one rule with weights over all received rows.

    .. math:: \hat g = A(W_k \cdots W_1 C g, f) = \sum_i v_i g_i, \quad v = C^\top W^\top w, \quad
        W = W_k \cdots W_1

    C keeps the rows that pass the input check; w are the weights of A over the mixed rows.

    Mixings are ``(m', m)`` matrices, or ``(m,)`` factors that scale each row, and a weight rule
    returns weights w over the mixed rows. The weights over the received rows are ``w @ W``, and
    the matrix is read once, at the end. Weight that factors below 1 remove from the rows is the
    weight of the origin, a part of ``anchor_weight``.

    Args:
        rule: the defense, ``rule(updates, num_byzantine) -> Aggregate``; further parameters
            named like fields of `Context` receive these fields.
        mixings: applied in order, ``mixing(updates, num_byzantine) -> (m', m)`` or ``(m,)``.
        gate: input check: drop rows that are not finite or absurdly large, and lower f by the
            number of dropped rows.
        on_excess_f: action in a round whose f exceeds the rule's limit (possible with client
            sampling): ``clamp`` lowers f to the limit and records it, ``keep_model`` returns
            the zero update, ``error`` raises.

    Raises:
        ValueError: ``on_excess_f`` is not one of the three; an `ExcessByzantine`, if it is
            ``error`` and f is too large.
    """

    def __init__(
        self,
        rule: Callable[..., Aggregate],
        mixings: Sequence[Callable[..., Tensor]] = (),
        *,
        gate: bool = True,
        on_excess_f: OnExcessF = "clamp",
    ) -> None:
        if on_excess_f not in ("clamp", "keep_model", "error"):
            raise ValueError(
                f"Expected on_excess_f as clamp, keep_model or error, got {on_excess_f!r}."
            )
        self.rule = rule
        self.mixings = tuple(mixings)
        self.gate = gate
        self.on_excess_f = on_excess_f
        self._asked = [asks(part) for part in (*self.mixings, rule)]

    def largest_f(self, n: int) -> int:
        """The largest f that every part accepts for n received rows."""
        return next(f for f in range(n, -1, -1) if self._accepts(n, f))

    def refuse_excess(self, n: int, f: int) -> None:
        """Raise ``ValueError`` if f of n clients is more than the parts accept."""
        limit = self.largest_f(n)
        if f > limit:
            raise ValueError(
                f"Expected at most f={limit} Byzantine of n={n} clients for {self._name()}, got"
                f" f={f}; lower the Byzantine share or choose another defense."
            )

    def refuse_parts(self, offered: Collection[str]) -> None:
        """Refuse a part that a run cannot use.

        Args:
            offered: fields of `Context` that a round provides.

        Raises:
            TypeError: a part has memory that a checkpoint does not store.
            ValueError: a part requires a field that is not offered.
        """
        for _, part in self._parts():
            refuse_lost_memory(part)
            if unknown := sorted(requires(part) - set(offered)):
                raise ValueError(
                    f"Expected {', '.join(unknown)} in the context of {_name_of(part)}, got none;"
                    " for a reference set task.root_samples, else choose another rule."
                )

    @property
    def asked(self) -> frozenset[str]:
        """The fields of `Context` that at least one part requires."""
        return frozenset().union(*self._asked)

    def __call__(
        self,
        updates: Updates | Tensor,
        num_byzantine: int,
        sizes: Tensor | None = None,
        context: Context | None = None,
    ) -> Aggregate:
        """The aggregate of the received rows.

        Args:
            updates: n received rows, as `Updates` or an ``(n, d)`` tensor.
            num_byzantine: f >= 0, the assumed f; it may differ from the true one.
            sizes: ``(n,)`` number of samples per client; short for a context with this field.
            context: further data of the round, for rules that require it.
        """
        received: Updates = as_updates(updates, self._name())
        context = context or Context(sizes=sizes)
        n = len(received)
        if isinstance(num_byzantine, bool) or num_byzantine < 0:
            raise ValueError(f"Expected num_byzantine as 0 or more, got f={num_byzantine!r}.")
        kept = torch.ones(n, dtype=torch.bool)
        if self.gate:
            passed = accepted(received)
            if not assumed(passed.all()):
                kept = passed.cpu()
        dropped = (~kept).nonzero().flatten()
        rows = kept.nonzero().flatten()
        if len(rows) == 0:
            return _keep_model(received, n, dropped, clamped=False)
        if len(dropped):
            received = received.select(rows)
        f, limit = max(num_byzantine - len(dropped), 0), self.largest_f(len(rows))
        if f > limit and self.on_excess_f == "keep_model":
            return _keep_model(received, n, dropped, clamped=True)
        if f > limit and self.on_excess_f == "error":
            raise ExcessByzantine(
                f"Expected at most f={limit} Byzantine rows for {self._name()} with"
                f" n={len(rows)} rows, got f={f}; set on_excess_f to clamp or keep_model, or"
                " choose another rule."
            )
        result = self._aggregate(received, min(f, limit), context.rows(rows))
        weights = result.weights
        if weights is not None:
            everyone = torch.zeros(n, dtype=weights.dtype, device=weights.device)
            weights = everyone.index_copy(0, sent(rows, weights.device), weights)
        return replace(
            result,
            weights=weights,
            dropped=dropped if len(dropped) else None,
            clamped=f > limit,
        )

    def reseed(self, name: str) -> None:
        """Let every part that draws use the stream ``name`` of its seed from now on.

        A part that draws has an attribute ``seed``.
        """
        for _, part in self._parts():
            if hasattr(part, "seed"):
                part.seed = stream_seed(part.seed, name)

    def state_dict(self) -> dict[str, Any]:
        """The state of every part that has one; tensors and plain Python only."""
        return {
            name: part.state_dict() for name, part in self._parts() if hasattr(part, "state_dict")
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of a chain with the same parts."""
        stateful = {name: part for name, part in self._parts() if hasattr(part, "state_dict")}
        if sorted(stateful) != sorted(state):
            raise ValueError(
                f"Expected the state of {sorted(stateful)}, got that of {sorted(state)};"
                " the checkpoint was written by a different defense."
            )
        for name, part in stateful.items():
            part.load_state_dict(state[name])

    def _aggregate(self, updates: Updates, f: int, context: Context) -> Aggregate:
        made: Tensor | None = None  # (m', m): weights of the received rows in the rows of the rule
        scaled, received = False, context
        for mixing, asked in zip(self.mixings, self._asked[:-1], strict=True):
            step = mixing(updates, f, **context.asked(asked))
            f = _f_after(mixing, len(updates), f)
            if step.ndim == 1:  # one factor per row
                step = step.double()
                updates, scaled = updates.scaled(step), True
                made = step.diag() if made is None else step[:, None] * made
            else:
                updates = updates.mixed(step)
                made = step if made is None else step.to(made) @ made
                context = context.mixed(step)
        for name, what in PER_CLIENT.items():
            lost = getattr(context, name) is None and getattr(received, name) is not None
            if lost and name in self._asked[-1]:
                raise ValueError(
                    f"Expected no mixing of rows before {_name_of(self.rule)}, which requires"
                    f" {what}; leave the mixing out, or choose clipping or arc."
                )
        answer = self.rule(updates, f, **context.asked(self._asked[-1]))
        result = as_aggregate(answer, _name_of(self.rule))
        if made is None or result.weights is None:
            return result
        weights = result.weights.to(made) @ made
        if not scaled:
            return replace(result, weights=weights)
        # The weight that a factor removes from a row goes to the origin, an update of zero.
        origin = float(result.weights.sum() - weights.sum())
        return replace(result, weights=weights, anchor_weight=result.anchor_weight + origin)

    def _accepts(self, n: int, f: int) -> bool:
        for mixing in self.mixings:
            if f > largest_f(mixing, n):
                return False
            f, n = _f_after(mixing, n, f), _rows_after(mixing, n)
        return f <= largest_f(self.rule, n)

    def _parts(self) -> list[tuple[str, Any]]:
        named = [(f"mixings.{i}", mixing) for i, mixing in enumerate(self.mixings)]
        return [*named, ("rule", self.rule)]

    def _name(self) -> str:
        return " + ".join(_name_of(part) for part in (*self.mixings, self.rule))


def _keep_model(updates: Updates, n: int, dropped: Tensor, *, clamped: bool) -> Aggregate:
    return Aggregate(
        vector=torch.zeros(updates.dimension, dtype=updates.dtype, device=updates.device),
        weights=torch.zeros(n, dtype=torch.float64, device=updates.device),
        anchor_weight=1.0,  # the anchor is the present model: an update of zero
        dropped=dropped if len(dropped) else None,
        clamped=clamped,
    )


def _f_after(mixing: Any, n: int, f: int) -> int:
    change = getattr(unwrapped(mixing), "num_byzantine_after", None)
    return f if change is None else int(change(n, f))


def _rows_after(mixing: Any, n: int) -> int:
    change = getattr(unwrapped(mixing), "rows_after", None)
    return n if change is None else int(change(n))


def _name_of(rule: Any) -> str:
    rule = unwrapped(rule)
    return str(getattr(rule, "__name__", snake_case(type(rule).__name__)))
