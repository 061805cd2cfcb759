"""The final network of a run as an MLflow model: raw inputs in, one output per class."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fl_platform.config import Config, ConfigError, config_hash
from fl_platform.core.outside import open_file
from fl_platform.core.text import reason
from fl_platform.federated import Samples
from fl_platform.federated.evaluation import Score, evaluate
from fl_platform.run.build import Population, build_model, load_population
from fl_platform.run.data_sets import test_set
from fl_platform.run.lookup import lacks_model
from fl_platform.run.outputs import flat_weights
from fl_platform.tracking.checkpoint import weights_sha256
from fl_platform.tracking.journal import Journal
from fl_platform.tracking.lock import take
from fl_platform.tracking.mlflow.model_files import save_model
from fl_platform.tracking.mlflow.store import has_mlflow
from fl_platform.tracking.records import RecordError
from fl_platform.tracking.run_folder import RunFolder, head, run_folder
from fl_platform.tracking.uploader import follow

FOLDER = "model"  # below the artifacts of a run
EXAMPLES = 2  # fewer would fix the size of a batch


class RawInputNetwork(nn.Module):
    """A network with the normalisation of its data: uint8 images ``(B, C, H, W)`` as they are read.

    Inputs of other kinds are passed on. The arithmetic is that of `Samples.read`.
    """

    def __init__(self, network: nn.Module, samples: Samples) -> None:
        super().__init__()
        self.network = network
        self.images = samples.inputs.dtype == torch.uint8
        weight = next(network.parameters(), torch.zeros(()))
        shape = (1, -1, *[1] * (samples.inputs.ndim - 2))
        for name, values in (("mean", samples.mean), ("std", samples.std)):
            self.register_buffer(name, torch.tensor(values, dtype=weight.dtype).view(shape))

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs of the network for raw inputs."""
        if self.images:
            mean, std = self.get_buffer("mean"), self.get_buffer("std")
            inputs = inputs.to(mean.dtype).div(255.0).sub(mean).div(std)
        outputs: Tensor = self.network(inputs)
        return outputs


def portable(network: nn.Module, samples: Samples) -> RawInputNetwork:
    """A copy of ``network`` on the CPU in evaluation mode that reads raw inputs."""
    return RawInputNetwork(copy.deepcopy(network).cpu(), samples).eval()


def examples(samples: Samples) -> Tensor:
    """The first test inputs as stored; one alone is repeated."""
    few = samples.inputs[:EXAMPLES].cpu()
    return few if len(few) == EXAMPLES else few.expand(EXAMPLES, *few.shape[1:]).clone()


def refuse_export(config: Config, population: Population) -> None:
    """Refuse, before any training, a network that cannot become a model.

    Raises:
        ConfigError: MLflow is missing, or `torch.export` cannot follow the network for batches of
            any size.
    """
    if not config.runtime.saves_model:
        return
    if not has_mlflow():
        raise ConfigError("runtime.model: expected MLflow to be installed, got none.")
    samples = population.held_out["test"]
    network, example = portable(build_model(config, population.dataset), samples), examples(samples)
    try:
        batch = {0: torch.export.Dim.AUTO}
        program = torch.export.export(network, (example,), dynamic_shapes=(batch,))
        program.module()(torch.cat([example, example[:1]]))
    except Exception as error:
        raise ConfigError(
            "runtime.model: expected a network that torch.export can follow for any size of a"
            f" batch, got: {reason(error).splitlines()[0][:300]}. Use runtime.model=false."
        ) from None


def write_model(
    config: Config, folder: RunFolder, population: Population, network: nn.Module, score: Score
) -> dict[str, Any]:
    """Write the model's files into the run folder; the journal's record of it."""
    samples, files = population.held_out["test"], folder.artifacts / FOLDER
    save_model(portable(network, samples), examples(samples), files)
    data = test_set(config, population)
    return {
        "path": str(files.relative_to(folder.path)),
        "registered": config.runtime.register,
        "values": {"accuracy": float(score.accuracy), "loss": float(score.loss)},
        "dataset": data["name"],
        "digest": data["digest"],
    }


def add_model(config: Config, home: Path) -> None:
    """Save the model that a finished run lacks, from its stored weights; does nothing otherwise.

    Raises:
        RecordError: weights of another run.
    """
    if not lacks_model(config, home):
        return
    population = load_population(config, home)
    refuse_export(config, population)
    folder = run_folder(home, config_hash(config))
    lock = take(folder.lock)
    try:
        network = _restored(config, folder, population)
        samples = population.held_out["test"]
        score = evaluate(network.eval(), samples, population.dataset.num_classes)
        entry = write_model(config, folder, population, network, score)
        journal = Journal(folder.journal, head(folder.describe() or {}))
        journal.note("model", **entry)
        journal.close()
    finally:
        lock.release()
    follow(home, config.runtime.tracking, folder.path)


def _restored(config: Config, folder: RunFolder, population: Population) -> nn.Module:
    file, network = folder.artifacts / "weights.pt", build_model(config, population.dataset)
    try:
        with os.fdopen(open_file(file, os.O_RDONLY), "rb") as stored:
            state: Mapping[str, Tensor] = torch.load(stored, map_location="cpu", weights_only=True)
        found = weights_sha256(flat_weights(state))
    except Exception as error:  # absent or damaged
        raise RecordError(file, f"{file}: {reason(error)}. Use --restart.") from None
    expected = (folder.result or {}).get("weights_sha256")
    if found != expected:
        problem = f"expected the weights {str(expected)[:16]} of the run, got {found[:16]}"
        raise RecordError(file, f"{file}: {problem}. Use --restart.")
    kind = next((value.dtype for value in state.values() if value.is_floating_point()), None)
    network.to(kind)
    network.load_state_dict(state)
    return network
