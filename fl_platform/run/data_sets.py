"""The data of a run as MLflow shows them: name, digest, schema, and part in the run."""

from __future__ import annotations

import hashlib
from typing import Any

from fl_platform.config import Config
from fl_platform.federated import Samples
from fl_platform.run.build import Population

DIGITS = 16  # of a digest: MLflow stores at most 36


def data_sets(config: Config, population: Population) -> list[dict[str, Any]]:
    """The records of the training data, the test set, and the validation set if there is one.

    The digest of training data and test set is that of the data as loaded, which runs with other
    partitions share. A validation set is drawn from them: its digest has share and seed too.
    """
    dataset, task = population.dataset, config.task
    sizes = {} if task.samples else {"samples": _loaded(population)}
    whole = population.federation.samples
    found = [
        _record(config, population, task.name, "training", whole, sizes),
        test_set(config, population),
    ]
    if "validation" in population.held_out:
        drawn = (dataset.digest, task.samples, task.validation, config.data_seed)
        digest = hashlib.sha256("/".join(map(str, drawn)).encode()).hexdigest()
        samples = population.held_out["validation"]
        name = f"{task.name} validation"
        record = _record(config, population, name, "validation", samples, {"samples": len(samples)})
        found.append({**record, "digest": digest[:DIGITS]})
    return found


def test_set(config: Config, population: Population) -> dict[str, Any]:
    """The record of the test set."""
    samples = population.held_out["test"]
    sizes = {"samples": len(samples)}
    return _record(config, population, f"{config.task.name} test", "testing", samples, sizes)


def _record(
    config: Config,
    population: Population,
    name: str,
    context: str,
    samples: Samples,
    sizes: dict[str, int],
) -> dict[str, Any]:
    return {
        "name": name,
        "digest": population.dataset.digest[:DIGITS],
        "context": context,
        "source": str(config.task.data.get("_target_", "")),
        "dtype": str(samples.inputs.dtype).removeprefix("torch."),
        "shape": list(samples.inputs.shape[1:]),
        "profile": {**sizes, "classes": population.dataset.num_classes},
    }


def _loaded(population: Population) -> int:
    """The number of training samples before some were held out for validation or the server."""
    held = population.held_out.get("validation", ())
    root = population.root.samples if population.root is not None else ()
    return len(population.federation.samples) + len(held) + len(root)
