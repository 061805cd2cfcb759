"""Files of a finished run: resolved config, figures, final weights."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from omegaconf import OmegaConf
from torch import Tensor

from fl_platform.config import Config
from fl_platform.data import classes_per_client
from fl_platform.federated import FederatedModule
from fl_platform.federated.evaluation import Score
from fl_platform.run.build import Population
from fl_platform.tracking.active_run import ActiveRun
from fl_platform.tracking.atomic import write_atomic
from fl_platform.tracking.checkpoint import weights_sha256
from fl_platform.tracking.history import History


def write_artifacts(
    config: Config,
    record: ActiveRun,
    population: Population,
    module: FederatedModule,
) -> list[Path]:
    """Write all artifacts into the run's folder of artifacts; their paths."""
    folder, history = record.folder, record.journal.history
    yaml = OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))
    write_atomic(folder.artifacts / "config.yaml", yaml.encode())
    weights = io.BytesIO()  # torch's own writer makes a RuntimeError of a full disk
    torch.save(module.model.state_dict(), weights)
    write_atomic(folder.artifacts / "weights.pt", weights.getbuffer())
    counts = classes_per_client(
        population.partition, population.dataset.train_labels, population.dataset.num_classes
    )
    _save(accuracy_figure(history), folder.artifacts / "accuracy.png")
    _save(partition_figure(counts, module.byzantine), folder.artifacts / "partition.png")
    names = ("config.yaml", "weights.pt", "accuracy.png", "partition.png")
    return [folder.artifacts / name for name in names]


def accuracy_figure(history: History) -> Figure:
    """Test accuracy over the rounds, and validation accuracy if there is any."""
    # Fixed margins: a computed layout draws everything twice, which takes a tenth of a short run.
    figure = Figure(figsize=(5, 3))
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.17, top=0.95)
    axes = figure.add_subplot(xlabel="round", ylabel="accuracy (%)", ylim=(0, 100))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for name, style in {"test": "-", "validation": "--"}.items():
        curve = history.curve(f"{name}/accuracy")
        if curve:
            rounds, values = zip(*curve, strict=True)
            axes.plot(rounds, [100 * v for v in values], style, color="black", label=name)
            axes.legend(frameon=False)
    return figure


def partition_figure(counts: torch.Tensor, byzantine: tuple[int, ...]) -> Figure:
    """Samples per class and client, ``(n, C)``; Byzantine clients are marked below."""
    figure = Figure(figsize=(7, 3))
    figure.subplots_adjust(left=0.07, right=1.02, bottom=0.17, top=0.95)
    axes = figure.add_subplot(xlabel="client (^ Byzantine)", ylabel="class")
    image = axes.imshow(counts.T.numpy(), aspect="auto", origin="lower", cmap="Greys")
    axes.plot(byzantine, [-0.8] * len(byzantine), "^", color="#D55E00", clip_on=False, ms=4)
    figure.colorbar(image, label="samples")
    return figure


def _save(figure: Figure, path: Path) -> None:
    drawn = io.BytesIO()
    FigureCanvasAgg(figure).print_png(drawn)
    write_atomic(path, drawn.getbuffer())


def summary(
    history: History,
    scores: Mapping[str, Score],
    weights: Mapping[str, Tensor],
    config: Config,
) -> dict[str, Any]:
    """Further entries of a result beside status and accuracy; see `Result`."""
    validation = [value for _, value in history.curve("validation/accuracy")]
    per_class = scores["test"].per_class if "test" in scores else ()
    return {
        "rounds": max((step for step, _ in history.curve("time/local")), default=0),
        "validation_tail": percent(validation, config.evaluation.tail),
        "accuracy_per_class": [None if math.isnan(share) else 100 * share for share in per_class],
        "seconds_training": sum(value for _, value in history.curve("time/local")),
        "weights_sha256": weights_sha256(flat_weights(weights)),
    }


def percent(accuracies: Sequence[float], tail: int) -> float:
    """Mean of the last ``tail`` accuracies (shares from 0 to 1) in percent; NaN without any."""
    last = [100 * value for value in accuracies[-tail:]]
    return sum(last) / len(last) if last else math.nan


def flat_weights(weights: Mapping[str, Tensor]) -> Tensor:
    """All tensors of a state in order, as float64, which holds float32 and counters exactly."""
    return torch.cat([value.detach().cpu().double().reshape(-1) for value in weights.values()])
