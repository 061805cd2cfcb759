"""The files of an MLflow model: an exported network that needs no code of ours to be loaded."""

from __future__ import annotations

import logging
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from fl_platform.tracking.mlflow.store import QUIET

if TYPE_CHECKING:
    from torch import Tensor, nn


def save_model(network: nn.Module, example: Tensor, folder: Path) -> None:
    """Write ``network`` with signature and input example as an MLflow model into ``folder``.

    The format is MLflow's ``pt2``: the graph and weights of `torch.export`, which contain no
    pickled code. An earlier model in ``folder`` is replaced.

    Args:
        network: in evaluation mode on the CPU; from a batch of inputs to ``(B, C)`` outputs.
        example: ``(B, ...)`` inputs with ``B >= 2``: the size of a batch stays free.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow.pytorch
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    inputs = example.numpy()
    with torch.no_grad():
        outputs = network(example).numpy()
    given, made = (
        Schema([TensorSpec(array.dtype, (-1, *array.shape[1:]))]) for array in (inputs, outputs)
    )
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    mlflow.pytorch.save_model(
        network,
        str(fresh),
        signature=ModelSignature(given, made),
        input_example=inputs,
        serialization_format="pt2",
        pip_requirements=[_pinned("mlflow"), _pinned("torch")],
    )
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def _pinned(package: str) -> str:
    """The installed version, without the part that names its build: an index has only the rest."""
    return f"{package}=={metadata.version(package).partition('+')[0]}"
