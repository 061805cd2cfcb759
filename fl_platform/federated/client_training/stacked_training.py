"""Train all clients of a step at once: batched products, one flat stack, one CUDA graph a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fl_platform.federated.client_training.batches import Relabel, lay_out, num_steps, stream
from fl_platform.federated.client_training.stacked_kernels import kernels
from fl_platform.federated.client_training.stacked_network import StackedNetwork, stacking_obstacle
from fl_platform.federated.client_training.stacked_sgd import stacked_sgd_step
from fl_platform.federated.client_training.trainer import Clients
from fl_platform.federated.client_training.workspace import on_current
from fl_platform.federated.federation import Samples

# Bytes that a chunk of clients may take. On a processor a chunk of small clients stays in cache.
BUDGET = {"cpu": 2**23, "cuda": 2**34}
BUCKET = 8  # active clients are rounded up to a multiple of this on a GPU: one graph for each
WARM_UP = 2  # steps before recording, in which libraries pick and allocate what they need


class Stacked:
    """Chunks of clients whose every layer is one batched product, without autograd.

    Clients are sorted by their number of steps, so that those still training are the first rows
    of the stack. Everything that a step reads lies at a fixed address: the plan of the chunk, the
    number of the step, which client has how many steps. So a step is a function of the number of
    active clients alone; on a GPU it is recorded once for each multiple of `BUCKET` and replayed,
    and clients rounded up with it do not move. From plan to updates nothing is read back.

    Args:
        model: the network; only read.
        clients: their samples and settings.
        chunk: clients trained at once; ``None`` for what fits `BUDGET` by shapes.
        bucket: what active clients are rounded up to; ``None`` for `BUCKET` on a GPU and 1 else.

    Raises:
        ValueError: the walk does not know the model, see `stacking_obstacle`.
    """

    def __init__(
        self,
        model: nn.Module,
        clients: Clients,
        chunk: int | None = None,
        bucket: int | None = None,
    ) -> None:
        samples = clients.federation.samples
        shape = tuple(samples.inputs.shape[1:])
        if reason := stacking_obstacle(model, shape, clients.loss, clients.settings.augments):
            raise ValueError(
                f"Expected a model whose clients train as a stack, but {reason};"
                " use runtime.local=auto or sequential."
            )
        first = next(model.parameters())
        device, dtype = first.device, first.dtype
        sizes = [len(own) for own in clients.federation.clients]
        self.clients = clients
        self.batch = min(clients.settings.batch, max(sizes))
        self.network = StackedNetwork(model, shape, self.batch)
        kind = _kind(device)
        self.bucket = bucket or (1 if kind == "cpu" else BUCKET)
        room = BUDGET[kind] // self.network.bytes_per_client(first.element_size())
        buckets = -(-(chunk or len(sizes)) // self.bucket)
        if chunk is None:
            buckets = max(1, min(buckets, room // self.bucket))
        self.chunk = buckets * self.bucket
        stack = (self.chunk, self.network.width)
        self.parameters, self.gradients, self.momentum = (
            torch.zeros(stack, device=device, dtype=dtype) for _ in range(3)
        )
        most = num_steps(max(sizes), clients.settings)
        self._plan = torch.zeros(most, 3, self.chunk, self.batch, device=device, dtype=torch.int32)
        self._steps = torch.zeros(self.chunk, device=device, dtype=torch.int32)
        self._step_index = torch.zeros(1, device=device, dtype=torch.int32)
        self._losses = torch.zeros(self.chunk, device=device, dtype=dtype)
        self._read = Reader(samples, dtype)
        self._targets = samples.host_targets
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._computed_in: tuple[torch.dtype, str] | None = None
        self._recorded = clients.settings
        self._side: torch.cuda.Stream | None = None

    def train(
        self,
        clients: Sequence[int],
        round_index: int,
        start: tuple[Tensor, list[Tensor]],
        rows: Tensor,
        buffer_rows: Tensor | None = None,
        relabel: Relabel | None = None,
    ) -> Tensor:
        """Train each client from the server's state and write its update into its row (eq. 2).

        Arguments and result are those of `Way.train`.
        """
        sizes = [len(self.clients.federation.clients[client]) for client in clients]
        steps = [num_steps(size, self.clients.settings) for size in sizes]
        order = sorted(range(len(clients)), key=lambda i: -steps[i])
        losses = torch.zeros(len(clients), device=rows.device)
        device = rows.device
        # Products choose their precision by `_prepare`, not layer by layer.
        precision = self._precision()
        with on_current(device), torch.no_grad(), torch.autocast(_kind(device), enabled=False):
            self._prepare(precision)
            for first in range(0, len(order), self.chunk):
                self.clients.between()
                places = order[first : first + self.chunk]
                taken = [steps[i] for i in places]
                self._train_chunk([clients[i] for i in places], taken, round_index, start, relabel)
                where = _sent(torch.tensor(places), device)
                count = len(places)
                self._write_updates(start[0], rows, where)
                mean = self._losses[:count] / self._steps[:count]
                losses.index_copy_(0, where, mean.to(losses.dtype))
        return losses

    def _precision(self) -> tuple[torch.dtype, str]:
        """The type of the products, and whether those of float32 are rounded to TF32."""
        kind, dtype = _kind(self.parameters.device), self.parameters.dtype
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        return dtype, torch.get_float32_matmul_precision()

    def _prepare(self, precision: tuple[torch.dtype, str]) -> None:
        """Make what a step of that precision needs; recorded steps of another are forgotten.

        A recorded step holds its learning rate too, so a rate that changes is recorded anew.
        """
        if self._recorded != self.clients.settings:
            self._graphs.clear()
            self._recorded = self.clients.settings
        if precision != self._computed_in:
            self._graphs.clear()
            self.network.prepare(self.chunk, self.parameters.device, precision[0])
            self._computed_in = precision

    def _train_chunk(
        self,
        clients: Sequence[int],
        steps: Sequence[int],
        round_index: int,
        start: tuple[Tensor, list[Tensor]],
        relabel: Relabel | None,
    ) -> None:
        """Leave the clients' parameters in the first rows of the stack."""
        active = self._send_plan(clients, steps, round_index, relabel)
        rounded = [min(self.chunk, -(-n // self.bucket) * self.bucket) for n in active]
        if self.parameters.device.type == "cuda":
            for n in dict.fromkeys(rounded):
                if n not in self._graphs:
                    self._graphs[n] = self._record(n)
        self.network.load(start[0], self.parameters)
        self.momentum.zero_()
        self.gradients.zero_()  # between the layers too: clipping a NaN gradient writes NaN there
        self._losses.zero_()
        self._step_index.zero_()
        for n in rounded:
            if n in self._graphs:
                self._graphs[n].replay()
            else:
                self._step(n)

    def _send_plan(
        self,
        clients: Sequence[int],
        steps: Sequence[int],
        round_index: int,
        relabel: Relabel | None,
    ) -> tuple[int, ...]:
        """Lay the chunk's batches out on the CPU and send them in one copy that is not waited for.

        Returns:
            How many clients take each step.
        """
        own = self.clients
        index, counts, active = lay_out(
            [own.federation.clients[client] for client in clients],
            [stream(own.seed, round_index, client) for client in clients],
            own.settings,
            self.batch,
        )
        targets = self._targets[index]
        if relabel is not None:
            targets = relabel(targets)
        pinned = self._plan.device.type == "cuda"
        count, most, _ = index.shape
        plan = torch.zeros(most, 3, self.chunk, self.batch, dtype=torch.int32, pin_memory=pinned)
        for i, part in enumerate((index, targets, counts)):
            plan[:, i, :count] = part.transpose(0, 1)
        self._plan[:most].copy_(plan, non_blocking=True)
        taken = torch.zeros(self.chunk, dtype=torch.int32, pin_memory=pinned)
        taken[:count] = torch.tensor(steps, dtype=torch.int32)
        self._steps.copy_(taken, non_blocking=True)
        return active

    def _step(self, n: int) -> None:
        """One step of the first n clients of the stack."""
        plan = self._plan.index_select(0, self._step_index)[0, :, :n]
        index, targets, counts = plan.unbind()
        parameters, gradients = self.parameters[:n], self.gradients[:n]
        assert self._computed_in is not None
        inputs = self._read(index, self._computed_in[0])
        outputs = self.network.forward(inputs, parameters)
        losses, gradient = cross_entropy(outputs, targets, counts)
        self.network.backward(gradient, parameters, gradients)
        active = self._steps[:n] > self._step_index
        trained = slice(0, self.network.trained)
        stacks = (parameters[:, trained], gradients[:, trained], self.momentum[:n, trained])
        # Without rounding up, all n are active.
        stacked_sgd_step(*stacks, self.clients.settings, active if self.bucket > 1 else None)
        self._losses[:n] += torch.where(active, losses, 0.0)
        self._step_index += 1

    def _record(self, n: int) -> torch.cuda.CUDAGraph:
        """Record a step of n clients; whatever it changes is written anew before the first one."""
        if self._side is None:  # one for all records: libraries keep a workspace per stream
            self._side = torch.cuda.Stream(self.parameters.device)
        side = self._side
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._step_index.zero_()
                self._step(n)
            self._step_index.zero_()
        torch.cuda.current_stream().wait_stream(side)
        pool = next(iter(self._graphs.values())).pool() if self._graphs else None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=side):
            self._step(n)
        return graph

    def _write_updates(self, start: Tensor, rows: Tensor, where: Tensor) -> None:
        """``w - w_i`` of the first clients of the stack into their rows, in the model's order."""
        stack = self.parameters[: len(where)]
        for slot in self.network.slots:
            before = start[slot.source].view(slot.axes)
            update = (before - slot.unload(stack)).flatten(1)
            rows[:, slot.source].index_copy_(0, where, update.to(rows.dtype))


class Reader:
    """Inputs by index, normalised and channels last, on the samples' own device.

    Args:
        samples: integer images stay uint8 there, once in this order.
        dtype: in which they are normalised.
    """

    def __init__(self, samples: Samples, dtype: torch.dtype) -> None:
        inputs = samples.inputs
        self._inputs = inputs.permute(0, 2, 3, 1).contiguous() if inputs.ndim == 4 else inputs
        self._dtype = dtype
        self._scaled = inputs.dtype == torch.uint8
        mean, std = (
            torch.tensor(values, dtype=torch.float64) for values in (samples.mean, samples.std)
        )
        # (x / 255 - mean) / std in one multiplication and one addition
        self._scale = (1.0 / (255.0 * std)).to(inputs.device, dtype)
        self._shift = (-mean / std).to(inputs.device, dtype)

    def __call__(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """``(C, B, H, W, channels)``, or ``(C, B, features)``, a new tensor of that type."""
        fast = kernels(self._scale)
        if fast is not None and self._scaled and self._inputs.ndim == 4:
            read: Tensor = fast.read(self._inputs, index, self._scale, self._shift, dtype)
            return read
        inputs = self._inputs.index_select(0, index.flatten())
        inputs = inputs.unflatten(0, index.shape).to(self._dtype)
        if self._scaled:
            inputs = torch.addcmul(self._shift, inputs, self._scale)
        return inputs.to(dtype)


def cross_entropy(outputs: Tensor, targets: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of each client's batch, and its gradient ``(softmax - onehot) / count``.

    Args:
        outputs: ``(C, B, K)`` logits.
        targets: ``(C, B)``.
        counts: ``(C, B)`` how many samples share the batch of each; 0 for one that does not count.

    Returns:
        Losses ``(C,)``, and the gradient of their sum to ``outputs``.
    """
    logits = outputs if outputs.dtype == torch.float64 else outputs.float()
    shares = torch.where(counts > 0, counts.to(logits.dtype).reciprocal(), 0.0)
    logarithms = torch.log_softmax(logits, -1)
    truth = targets.long().unsqueeze(-1)
    losses = -(logarithms.gather(-1, truth).squeeze(-1) * shares).sum(-1)
    classes = torch.arange(logits.shape[-1], device=logits.device)
    gradient = (logarithms.exp() - (classes == truth).to(logits.dtype)) * shares.unsqueeze(-1)
    return losses, gradient.to(outputs.dtype)


def _kind(device: torch.device) -> str:
    return "cuda" if device.type == "cuda" else "cpu"


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """On ``device``, without waiting for it."""
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
