"""The aggregation functions behind Flower's strategies."""

from __future__ import annotations

import importlib
from typing import Any

from fl_platform.adapters.conformance.inputs import Rows
from fl_platform.adapters.conformance.verdicts import Peer


def peers() -> list[Peer]:
    """Every robust aggregation of Flower that has a counterpart here."""
    flower = importlib.import_module("flwr.server.strategy.aggregate")

    def results(rows: Rows) -> list[Any]:
        return [([row], 1) for row in rows]

    def krum(rows: Rows, f: int) -> Any:
        return flower.aggregate_krum(results(rows), f, 0)[0]

    def multi_krum(rows: Rows, f: int) -> Any:
        return flower.aggregate_krum(results(rows), f, len(rows) - f)[0]

    def bulyan(rows: Rows, f: int) -> Any:
        return flower.aggregate_bulyan(results(rows), f, flower.aggregate_krum, to_keep=0)[0]

    def trimmed(rows: Rows, f: int) -> Any:
        return flower.aggregate_trimmed_avg(results(rows), f / len(rows))[0]

    return [
        Peer("flwr", "FedAvg", "mean", lambda rows, f: flower.aggregate(results(rows))[0]),
        Peer(
            "flwr", "FedMedian", "median", lambda rows, f: flower.aggregate_median(results(rows))[0]
        ),
        Peer("flwr", "FedTrimmedAvg", "trimmed_mean", trimmed),
        Peer("flwr", "Krum", "krum", krum),
        Peer("flwr", "MultiKrum", "multi_krum", multi_krum),
        Peer("flwr", "Bulyan", "bulyan", bulyan),
    ]
