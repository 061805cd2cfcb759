"""Replay of a recorded step on a CUDA device: one launch per step instead of some hundred."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fl_platform.federated.client_training.draws import draws_numbers
from fl_platform.federated.client_training.sequential import Sequential
from fl_platform.federated.client_training.settings import LocalTraining
from fl_platform.federated.client_training.trainer import Clients
from fl_platform.federated.client_training.workspace import on_current

WARM_UP = 3  # steps before recording, in which libraries pick and allocate what they need


class Graphed(Sequential):
    """`Sequential` whose full batches replay one CUDA graph; short ones run step by step.

    On an H100 its updates are as far from a CPU's as those of `Sequential`, tried with two
    networks of convolutions without buffers (``benchmarks/gpu.py``).

    Args:
        model: the network, on a CUDA device; copied.
        clients: their samples and settings.

    Raises:
        ValueError: the model is not on a CUDA device.
    """

    moves = True  # what is recorded is a step

    def __init__(self, model: nn.Module, clients: Clients) -> None:
        super().__init__(model, clients)
        device = self.workspace.parameters.device
        if device.type != "cuda":
            raise ValueError(
                f"Expected a model on a CUDA device for runtime.local=graphed, got {device};"
                " use auto or sequential."
            )
        if draws_numbers(model):
            raise ValueError(
                "Expected a model without dropout for runtime.local=graphed: recording a step draws"
                " numbers; use auto or sequential."
            )
        self._side = torch.cuda.Stream(device)  # one for all records
        self._graph: torch.cuda.CUDAGraph | None = None
        self._recorded: LocalTraining | None = None
        self._inputs = self._targets = self._loss = torch.empty(0, device=device)

    def _step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if len(inputs) != self.clients.settings.batch:
            return super()._step(inputs, targets)
        if self._graph is None or self._recorded != self.clients.settings:
            with on_current(inputs.device):
                self._record(inputs, targets)  # a graph contains the rate of its recording
        assert self._graph is not None
        self._inputs.copy_(inputs)
        self._targets.copy_(targets)
        self._graph.replay()
        return self._loss.clone()  # the next replay overwrites it

    def _record(self, inputs: Tensor, targets: Tensor) -> None:
        """Record one step on tensors with fixed addresses; the workspace is not changed."""
        workspace = self.workspace
        kept = [workspace.parameters, workspace.momentum, *workspace.buffers]
        before = [value.clone() for value in kept]
        self._inputs, self._targets = inputs.clone(), targets.clone()
        side = self._side
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                super()._step(self._inputs, self._targets)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            self._loss = super()._step(self._inputs, self._targets)
        for value, old in zip(kept, before, strict=True):
            value.copy_(old)
        self._graph, self._recorded = graph, self.clients.settings
