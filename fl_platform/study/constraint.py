"""Weight constraint: aggregation weight of the Byzantine updates relative to their fair share."""

from __future__ import annotations

import math
from pathlib import Path

from fl_platform.config import Config, ConfigError, config_hash
from fl_platform.run.refusals import has_weights
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder


def weight_share(config: Config, home: Path) -> float:
    """Mean over rounds of (weight of the Byzantine updates) / (f / m); 1 is the plain mean's."""
    curves = read(run_folder(home, config_hash(config)).journal)
    weights = dict(curves.curve("round/byzantine_weight"))
    counts = dict(curves.curve("round/byzantine"))
    rows = received(config)
    fair = {step: counts.get(step, 0.0) / rows for step in weights}
    ratios = [weights[step] / fair[step] for step in weights if fair[step]]
    return math.fsum(ratios) / len(ratios) if ratios else 0.0


def refuse_weightless(config: Config) -> None:
    """Refuse a defense whose aggregate has no weights.

    Raises:
        ConfigError: the rule computes no weights, or the number of updates per round is unknown.
    """
    rows = received(config)
    if not has_weights(config, rows, config.byzantine.number(rows)):
        raise ConfigError(
            "stealth: expected a defense whose rule weights updates (multi_krum, rfa, aksel,"
            f" dnc, centered_clipping, ...), got {config.defense['_target_'].rpartition('.')[2]}."
        )


def received(config: Config) -> int:
    """Number of updates per round.

    Raises:
        ConfigError: the number depends on the data.
    """
    rows = config.task.sampled or config.task.clients
    if rows is None:
        raise ConfigError(
            "stealth: expected a task with a fixed number of clients per round, got neither"
            " task.sampled nor task.clients."
        )
    return rows
