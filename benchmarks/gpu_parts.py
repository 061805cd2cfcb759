"""Parts of `benchmarks/gpu.py`: training, deviation, server side, the authors' loop."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.authors_loop import AuthorsLoop
from benchmarks.card import in_turns, precision, timed
from benchmarks.server_side import F, N, update_rows
from fl_platform.attacks import strike
from fl_platform.core import Updates, generator
from fl_platform.data.partitions.dirichlet import dirichlet
from fl_platform.defenses import Chain, dnc, median, multi_krum, nnm, rfa, trimmed_mean
from fl_platform.defenses.gate import accepted
from fl_platform.federated import Federation, Samples
from fl_platform.federated.client_training import WAYS, Clients, LocalTraining, WayName, build_way
from fl_platform.federated.evaluation import evaluate
from fl_platform.metrics import deviation, skew
from fl_platform.models import femnist_cnn, mlp, small_alexnet
from fl_platform.models.size import num_parameters, work_per_image

Record = dict[str, Any]
SGD = LocalTraining(lr=0.1, momentum=0.9, weight_decay=1e-4, clip=2.0)
REFERENCE = "graphed"  # the fastest of the older ways on a GPU; elsewhere "sequential"


@dataclass(frozen=True)
class Load:
    """Local training of one round: a network, its clients and their images."""

    build: Callable[..., nn.Module]
    shape: tuple[int, int, int]
    classes: int
    batch: int
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, name: str, shares: str, dry: bool) -> Load:
        """``full``: equal clients with full batches; ``dirichlet``: sizes drawn with beta = 0.5."""
        build, shape, classes, batch, clients, steps = {
            "digits": (mlp, (1, 8, 8), 10, 16, 40, 2),
            "femnist": (femnist_cnn, (1, 28, 28), 62, 128, 10, 2),
            "alexnet": (small_alexnet, (3, 32, 32), 10, 128, 40, 8),
        }[name]
        if dry:
            batch, clients = 4, 3
        sizes = (steps * batch,) * clients
        if shares == "dirichlet":
            labels = torch.arange(sum(sizes) * 5 // 4) % classes
            drawn = dirichlet(labels, clients * 5 // 4, 0, beta=0.5, minimum=1).indices
            sizes = tuple(len(own) for own in drawn[:clients])
        return cls(build, shape, classes, batch, sizes)  # type: ignore[arg-type]

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        return self.build(self.classes, self.shape)

    @cached_property
    def federation(self) -> Federation:
        draws, count = generator(0, "benchmark"), sum(self.sizes)
        images = torch.randint(256, (count, *self.shape), generator=draws, dtype=torch.uint8)
        labels = torch.randint(self.classes, (count,), generator=draws)
        channels = self.shape[0]
        samples = Samples(images, labels, (0.5,) * channels, (0.25,) * channels)
        return Federation(samples, torch.arange(count).split(list(self.sizes)), self.classes)


def ways(device: str) -> list[WayName]:
    """All training backends; those for a GPU only if there is one."""
    return [name for name in WAYS if device == "cuda" or name != "graphed"]


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def training(name: str, rate: str, device: str, dry: bool) -> Iterator[Record]:
    """Images per second of every backend in one precision, and the TFLOP/s.

    The newest backend runs last, in turns with the reference only, so that its failure affects no
    other figure.
    """
    known = ways(device)
    base = REFERENCE if REFERENCE in known else "sequential"
    older = [way for way in known if way != "stacked"]
    groups = [older, [base, "stacked"]] if "stacked" in known else [older]
    for shares in ("full", "dirichlet"):
        load = Load.of(name, shares, dry)
        about = {"network": name, "shares": shares, "precision": rate}
        for number, group in enumerate(groups):
            for record in rates(load, group, rate, device, dry):
                if not number or record["way"] == "stacked":
                    yield about | record


def rates(load: Load, group: list[WayName], rate: str, device: str, dry: bool) -> Iterator[Record]:
    """Local training of one round by each backend of ``group``, in turns."""
    model = load.model().to(device)
    local = LocalTraining(batch=load.batch, lr=0.01)  # noise: at the paper's rate it may diverge
    clients = Clients(load.federation.to(torch.device(device)), local)
    start, ids = flat(model), range(len(load.sizes))
    rows = torch.empty(len(ids), len(start), device=device)
    calls: dict[str, Callable[[], object]] = {}
    for way in group:
        try:
            call = _training_call(way, model, clients, start, rows, rate, device)
            call()
            calls[way] = call
        except Exception as error:  # out of memory, or a network that the way cannot train
            yield {"way": way, "failed": f"{type(error).__name__}: {str(error)[:200]}"}
    if not calls:
        return
    found = in_turns(calls, device, 0.0 if dry else float(len(calls)), most=10)
    images, operations = sum(load.sizes), work_per_image(model, load.shape).training
    base = next(iter(calls))
    for way, seconds in found.items():
        middle = statistics.median(seconds)
        yield {
            "way": way,
            "images/s": round(images / middle),
            "TFLOP/s": round(operations * images / middle / 1e12, 3),
            f"times {base}": round(statistics.median(found[base]) / middle, 2),
            "ms": round(1e3 * middle, 2),
            "spread": round(max(seconds) / min(seconds), 2),
        }


def _training_call(
    way: WayName,
    model: nn.Module,
    clients: Clients,
    start: Tensor,
    rows: Tensor,
    rate: str,
    device: str,
) -> Callable[[], object]:
    trainer = build_way(way, model, clients)  # one for each precision: a graph keeps its own

    def train() -> None:
        with precision(rate, device):
            trainer.train(range(len(rows)), 0, (start, []), rows)

    return train


def difference(name: str, device: str, dry: bool) -> Iterator[Record]:
    """Distance of the updates of each backend from sequential float64 on the CPU.

    Three clients of unequal size, with partial last batches and two epochs.
    """
    batch = Load.of(name, "full", dry).batch
    counts = (batch + 3, 2, 2 * batch)
    load = Load(*_shape(name, dry), batch, counts)
    local = LocalTraining(2, batch, 0.01, SGD.momentum, SGD.weight_decay, SGD.clip)
    drawn = load.model()  # once: in another default type other weights would be drawn

    def updates(way: WayName, rate: str, where: str, dtype: torch.dtype) -> Tensor:
        model = copy.deepcopy(drawn).to(where, dtype)
        start = flat(model)
        rows = torch.empty(3, len(start), device=where, dtype=dtype)
        clients = Clients(load.federation.to(torch.device(where)), local)
        with precision(rate, where):
            build_way(way, model, clients).train(range(3), 0, (start, []), rows)
        return rows.cpu().double()

    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # images are normalised to it
    try:
        expected = updates("sequential", "float32", "cpu", torch.float64)
    finally:
        torch.set_default_dtype(default)
    for rate in ("float32",) if dry else ("float32", "TF32", "bf16"):
        for way in ways(device):
            about = {"network": name, "way": way, "precision": rate}
            try:
                off = updates(way, rate, device, torch.float32) - expected
                yield about | {"relative difference": float(f"{off.norm() / expected.norm():.3g}")}
            except Exception as error:
                yield about | {"failed": f"{type(error).__name__}: {str(error)[:200]}"}


def _shape(name: str, dry: bool) -> tuple[Any, Any, int]:
    load = Load.of(name, "full", dry)
    return load.build, load.shape, load.classes


def server(device: str, dry: bool) -> Iterator[Record]:
    """Times of the parts of the server side, for 50 updates of AlexNet.

    GB/s counts the minimum of bytes to move: the rows once plus one vector. ``reads`` is the time
    over that of ``ones(n) @ rows``.
    """
    rows = update_rows(10_000 if dry else 2_472_266).to(device)
    honest, ones = rows[: N - F], torch.ones(N, device=device)
    budget = 0.0 if dry else 0.5
    read = statistics.median(timed(lambda: ones @ rows, device, budget))
    yield {"what": "one read", "ms": round(1e3 * read, 3), "GB/s": _speed(rows, read)}
    for name, (part, ours, simple) in server_parts(rows, honest).items():
        calls = {"ours": ours} | ({"plain": simple} if simple else {})
        try:
            found = in_turns(calls, device, budget * len(calls))
        except Exception as error:
            yield {"what": name, "failed": f"{type(error).__name__}: {str(error)[:200]}"}
            continue
        middle = {way: statistics.median(seconds) for way, seconds in found.items()}
        record = {
            "what": name,
            "ms": round(1e3 * middle["ours"], 3),
            "GB/s": _speed(part, middle["ours"]),
            "reads": round(middle["ours"] / read, 1),
        }
        if simple:
            record["times plain"] = round(middle["plain"] / middle["ours"], 2)
        yield record


def _speed(rows: Tensor, seconds: float) -> float:
    return round(4 * (rows.numel() + rows.shape[1]) / seconds / 1e9, 1)


Call = Callable[[], object]


def server_parts(rows: Tensor, honest: Tensor) -> dict[str, tuple[Tensor, Call, Call | None]]:
    """Parts by name: rows to read, our function, and the same in plain torch."""
    known = Updates(honest)
    sent = strike(known, F)
    vector = multi_krum(Updates(rows), F).vector

    def statistics_of() -> object:
        seen = Updates(honest)
        return skew(seen, F) | deviation(seen, vector, sent)

    def whole() -> object:
        seen = Updates(honest)
        bad = strike(seen, F)
        aggregate = Chain(multi_krum)(seen.extended(bad), F)
        return skew(seen, F) | deviation(seen, aggregate.vector, bad)

    def mixed() -> object:
        return Chain(multi_krum, [nnm], gate=False)(Updates(rows), F)

    return {
        "STRIKE + Multi-Krum + statistics": (rows, whole, None),
        "STRIKE": (honest, lambda: strike(Updates(honest), F), lambda: plain.strike(honest, F)),
        "gate": (rows, lambda: accepted(Updates(rows)), None),
        "Gram": (rows, lambda: Updates(rows).gram(), lambda: torch.cdist(rows, rows)),
        "Multi-Krum": (
            rows,
            lambda: multi_krum(Updates(rows), F),
            lambda: plain.multi_krum(rows, F),
        ),
        "statistics": (honest, statistics_of, None),
        "NNM + Multi-Krum": (rows, mixed, lambda: plain.multi_krum(plain.nnm(rows, F), F)),
        "DnC": (rows, lambda: dnc()(Updates(rows), F), None),
        "median": (rows, lambda: median(Updates(rows), F), lambda: plain.median(rows)),
        "trimmed mean": (
            rows,
            lambda: trimmed_mean(Updates(rows), F),
            lambda: plain.trimmed_mean(rows, F),
        ),
        "RFA": (rows, lambda: rfa(Updates(rows), F), lambda: plain.rfa(rows)),
    }


def against_authors(device: str, dry: bool, rate: str, way: str) -> Iterator[Record]:
    """One round of ours and one of the authors' loop in turns: same clients, attack, defense.

    Ours also computes the statistics of every round; neither is tracked. Both start each round
    from the same weights, so that both do the same work.
    """
    load = Load.of("alexnet", "dirichlet", dry)
    name: Any = way if way in WAYS else REFERENCE if device == "cuda" else "sequential"
    count = 40 if dry else 10_000
    f = 1 if dry else F
    model = load.model().to(device)
    start = flat(model)
    federation = load.federation.to(torch.device(device))
    test = Samples(
        federation.samples.inputs[:count],
        federation.samples.targets[:count],
        federation.samples.mean,
        federation.samples.std,
    )
    local = LocalTraining(1, load.batch, SGD.lr, SGD.momentum, SGD.weight_decay, SGD.clip)
    trainer = build_way(name, model, Clients(federation, local))
    rows = torch.empty(len(load.sizes), num_parameters(model), device=device)
    twin = load.model().to(device)
    loop = AuthorsLoop(
        twin,
        federation.samples.read(slice(None)),
        federation.clients,
        local,
        f,
        test.read(slice(None)),
    )

    def ours() -> None:
        with precision(rate, device):
            trainer.train(range(len(rows)), 0, (start, []), rows)
        honest = Updates(rows)
        sent = strike(honest, f)
        aggregate = Chain(multi_krum)(honest.extended(sent), f)
        _ = skew(honest, f) | deviation(honest, aggregate.vector, sent)
        vector = start - aggregate.vector
        nn.utils.vector_to_parameters(vector.clone(), model.parameters())
        evaluate(model, test, load.classes)

    def authors() -> None:
        nn.utils.vector_to_parameters(start.clone(), twin.parameters())
        with precision(rate, device):
            loop.round()

    found = in_turns({"ours": ours, "authors": authors}, device, 0.0 if dry else 12.0, most=8)
    middle = {who: statistics.median(seconds) for who, seconds in found.items()}
    yield {
        "precision": rate,
        "way": name,
        "seconds a round": round(middle["ours"], 4),
        "seconds a round, authors' loop": round(middle["authors"], 4),
        "times the authors' loop": round(middle["authors"] / middle["ours"], 2),
    }
