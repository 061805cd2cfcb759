"""Data of a round beside the rows, and the part of it that a rule requires."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fl_platform.core.deferred import sent
from fl_platform.core.rule import first_parameters


@dataclass(frozen=True)
class Context:
    """Data of a round beside the rows; a rule receives the fields that its parameters name.

    A rule names a field by a positional parameter:
    ``def fltrust(updates, num_byzantine, reference, *, ...)``. A parameter without a default is
    required: a run without this field is refused at setup. ``None`` means not available.

    Attributes:
        clients: ``(m,)`` int64 number of the client of each row.
        round: t, from 0.
        sizes: ``(m,)`` number of training samples that each client reports.
        losses: ``(m,)`` training loss that each client reports: the mean over its local steps. A
            Byzantine client that trains reports its own; for one that does not, see
            `Adversary.losses`.
        reference: ``(d,)`` the server's own update, trained on its own data.
        model: ``(d,)`` the global model w_t at the start of the round.
        layers: number of coordinates of each parameter tensor, in order; they sum to d.
    """

    clients: Tensor | None = None
    round: int | None = None
    sizes: Tensor | None = None
    losses: Tensor | None = None
    reference: Tensor | None = None
    model: Tensor | None = None
    layers: tuple[int, ...] | None = None

    def rows(self, index: Tensor) -> Context:
        """The context of the rows at ``index``."""
        return self._with({name: _at(getattr(self, name), index) for name in PER_ROW})

    def mixed(self, mixing: Tensor) -> Context:
        """The context of the rows of ``mixing @ matrix``, which belong to no single client.

        A mixed row has the samples of all rows that it mixes; clients and losses are unknown.
        """
        sizes = self.sizes
        if sizes is not None:
            sizes = (mixing != 0).double() @ sent(sizes, mixing.device).double()
        return self._with({"clients": None, "losses": None, "sizes": sizes})

    def asked(self, names: frozenset[str]) -> dict[str, Any]:
        """The fields in ``names`` as keyword arguments."""
        return {name: getattr(self, name) for name in FIELDS if name in names}

    def _with(self, changes: Mapping[str, Any]) -> Context:
        values = {name: getattr(self, name) for name in FIELDS} | dict(changes)
        return Context(**values)


FIELDS = ("clients", "round", "sizes", "losses", "reference", "model", "layers")
PER_ROW = ("clients", "sizes", "losses")


def asks(rule: Any) -> frozenset[str]:
    """The fields of `Context` among the positional parameters of a rule."""
    return frozenset(first_parameters(rule)) & frozenset(FIELDS)


def requires(rule: Any) -> frozenset[str]:
    """The fields of `Context` among the positional parameters without a default."""
    empty = inspect.Parameter.empty
    parameters = inspect.signature(rule).parameters
    return frozenset(name for name in asks(rule) if parameters[name].default is empty)


def _at(values: Tensor | None, index: Tensor) -> Tensor | None:
    return None if values is None else values[sent(index, values.device)]
