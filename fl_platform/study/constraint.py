"""How visible an attack is: the weight that a rule gives its rows, over their fair part."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from fl_platform.config import Config, ConfigError, config_hash
from fl_platform.core import Updates
from fl_platform.run.build import build_roles
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder


def weight_share(config: Config, home: Path) -> float:
    """Mean weight of the Byzantine rows over f / m, their part in the plain mean; 1 is fair."""
    curves = read(run_folder(home, config_hash(config)).journal)
    weights = dict(curves.curve("round/byzantine_weight"))
    counts = dict(curves.curve("round/byzantine"))
    rows = received(config)
    fair = {step: counts.get(step, 0.0) / rows for step in weights}
    ratios = [weights[step] / fair[step] for step in weights if fair[step]]
    return math.fsum(ratios) / len(ratios) if ratios else 0.0


def refuse_weightless(config: Config) -> None:
    """Ask the defense for an aggregate of equal rows; refuse one that answers without weights.

    Raises:
        ConfigError: the defense's rule gives no weights, or the size of a round is not known.
    """
    rows = received(config)
    aggregator = build_roles(config)[0]
    answer = aggregator.aggregate(
        Updates(torch.zeros(rows, 4)),
        config.byzantine.number(rows),
        torch.arange(rows),
        torch.ones(rows),
    )
    if answer.weights is None:
        raise ConfigError(
            "stealth: expected a defense whose rule weighs rows (multi_krum, rfa, aksel, dnc,"
            f" centered_clipping, ...), got {config.defense['_target_'].rpartition('.')[2]}."
        )


def received(config: Config) -> int:
    """How many rows a round has.

    Raises:
        ConfigError: only the data can tell.
    """
    rows = config.task.sampled or config.task.clients
    if rows is None:
        raise ConfigError(
            "stealth: expected a task that says how many clients take part, got neither"
            " task.sampled nor task.clients."
        )
    return rows
