"""Server side of a round against plain code, ByzFL and the lower bound, in one process.

    python benchmarks/server_side.py                    # d = 2,472,266, the paper's AlexNet
    python benchmarks/server_side.py --dimension 300000 --repeats 5 --json out.json

Every repeat runs each implementation of each case once, so that machine load affects all equally;
the table shows medians of processor time. The lower bound, one *read*, is ``ones(n) @ X``. The
column of ByzFL is filled if the package is installed.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from benchmarks import plain
from fl_platform.attacks import min_max, min_sum, strike
from fl_platform.core import Updates, generator
from fl_platform.core.deferred import deferring
from fl_platform.core.native import compiler as native
from fl_platform.defenses import (
    Chain,
    arc,
    bucketing,
    caf,
    centered_clipping,
    cge,
    clipping,
    fed_seca,
    flame,
    fltrust,
    lasa,
    mea_med,
    mean,
    median,
    monna,
    multi_krum,
    nnm,
    norm_bound,
    phocas,
    rfa,
    rlr,
    sign_guard,
    trimmed_mean,
)
from fl_platform.metrics.deviation import deviation
from fl_platform.metrics.skew import skew

N, F = 50, 10
PAPER_DIMENSION = 2_472_266  # the small AlexNet
READS_MEMORY_LIMIT = 4 << 30  # bytes that one implementation may allocate besides the rows


@dataclass
class Case:
    """One row of the table: implementations of one computation, and the target of ours."""

    name: str
    ours: Callable[[], object]
    plain: Callable[[], object] | None = None
    byzfl: Callable[[], object] | None = None
    ratio: float | None = None  # plain / ours, at least
    reads: float | None = None  # ours / floor, at most
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def middle(self, way: str) -> float | None:
        times = self.seconds.get(way)
        return statistics.median(times) if times else None


def update_rows(dimension: int) -> Tensor:
    """Honest rows around a common direction, then Byzantine rows near them; filled in place."""
    rows = torch.empty(N, dimension)
    draws = generator(0, "benchmark")
    common = torch.randn(dimension, generator=draws) * 0.01
    for i, row in enumerate(rows):
        row.normal_(0, 0.02, generator=draws).add_(common, alpha=1.0 if i < N - F else -1.0)
    return rows


@contextmanager
def torch_only() -> Iterator[None]:
    before = os.environ.get("FL_PLATFORM_NATIVE")
    os.environ["FL_PLATFORM_NATIVE"] = "0"
    try:
        yield
    finally:
        os.environ.pop("FL_PLATFORM_NATIVE")
        if before is not None:
            os.environ["FL_PLATFORM_NATIVE"] = before


def without_kernels(call: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with torch_only():
            return call()

    return run


def round_of_the_server(honest_rows: Tensor) -> dict[str, Any]:
    """Server side of a round: STRIKE, input check, Multi-Krum, skew and deviation statistics."""
    with deferring() as deferral:
        honest = Updates(honest_rows)
        byzantine = strike(honest, F)
        aggregate = Chain(multi_krum)(honest.extended(byzantine), F)
        numbers = skew(honest, F) | deviation(honest, aggregate.vector, byzantine)
    held, values = deferral.settle(numbers)
    assert held  # else a round would be computed twice
    return values


def cases(rows: Tensor) -> list[Case]:
    honest = rows[: N - F]
    known = Updates(rows)  # its Gram is there before the clock starts
    known.gram()
    order = torch.randperm(N, generator=generator(0, "order"))
    byz = byzfl_rules(rows)

    def fresh(rule: Callable[..., object], *arguments: object) -> Callable[[], object]:
        return lambda: rule(Updates(rows), F, *arguments)

    def attack(rule: Callable[..., object]) -> Callable[[], object]:
        return lambda: rule(Updates(honest), F)

    def mixed(mixing: Callable[..., Tensor], rule: Callable[..., object]) -> Callable[[], object]:
        return lambda: Chain(rule, [mixing], gate=False)(known, F)

    def lower(rule_updates: Updates) -> object:
        return rule_updates.median("lower")

    return [
        Case("STRIKE + Multi-Krum + statistics", lambda: round_of_the_server(honest), reads=25),
        Case("Multi-Krum, given the Gram", lambda: multi_krum(known, F), reads=1.3),
        Case("RFA, given the Gram", lambda: rfa(known, F), reads=1.3),
        Case("NNM + Multi-Krum, given the Gram", mixed(nnm, multi_krum), reads=1.3),
        Case("NNM + RFA, given the Gram", mixed(nnm, rfa), reads=1.3),
        Case("bucketing + RFA, given the Gram", mixed(bucketing(0), rfa), reads=1.3),
        Case("Gram", lambda: Updates(rows).gram(), lambda: torch.cdist(rows, rows)),
        Case(
            "Multi-Krum",
            fresh(multi_krum),
            lambda: plain.multi_krum(rows, F),
            byz.get("multi_krum"),
            ratio=5,
        ),
        Case("RFA", fresh(rfa), lambda: plain.rfa(rows), byz.get("rfa"), ratio=7),
        Case(
            "NNM + Multi-Krum",
            lambda: Chain(multi_krum, [nnm], gate=False)(Updates(rows), F),
            lambda: plain.multi_krum(plain.nnm(rows, F), F),
            byz.get("nnm"),
        ),
        Case(
            "bucketing + RFA",
            lambda: Chain(rfa, [bucketing(0)], gate=False)(Updates(rows), F),
            lambda: plain.rfa(plain.bucketing(rows, order)),
        ),
        Case(
            "centered clipping",
            lambda: centered_clipping(memory=False)(Updates(rows), F),
            lambda: plain.centered_clipping(rows),
            byz.get("centered_clipping"),
        ),
        Case(
            "median",
            lambda: lower(Updates(rows)),
            lambda: plain.median(rows),
            byz.get("median"),
            ratio=15,
        ),
        Case("median, midpoint", fresh(median), None, None),
        Case(
            "median, no compiler",
            without_kernels(lambda: lower(Updates(rows))),
            lambda: plain.median(rows),
            ratio=1.5,
        ),
        Case(
            "trimmed mean",
            fresh(trimmed_mean),
            lambda: plain.trimmed_mean(rows, F),
            byz.get("trimmed_mean"),
            ratio=30,
        ),
        Case(
            "trimmed mean, no compiler",
            without_kernels(fresh(trimmed_mean)),
            lambda: plain.trimmed_mean(rows, F),
            ratio=3,
        ),
        Case("MinMax", attack(min_max), lambda: plain.min_max(honest), ratio=25),
        Case("MinSum", attack(min_sum), lambda: plain.min_sum(honest), ratio=25),
        Case("STRIKE", attack(strike), lambda: plain.strike(honest, F), ratio=15),
        *field_cases(rows, known),
        Case(
            "STRIKE, no compiler",
            without_kernels(attack(strike)),
            lambda: plain.strike(honest, F),
        ),
    ]


def field_cases(rows: Tensor, known: Updates) -> list[Case]:
    """The field's rules in reads; what is left of each is a floor that the comment states."""
    own = rows[0].clone()

    def fresh(rule: Callable[..., object], *arguments: object) -> Callable[[], object]:
        return lambda: rule(Updates(rows), F, *arguments)

    def clipped(mixing: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: Chain(mean, [mixing], gate=False)(Updates(rows), F)

    return [
        Case("CAF, given the Gram", lambda: caf(known, F), reads=1.4),
        Case("FLAME, given the Gram", lambda: flame(0, noise=0.0)(known, F)),  # norms once known
        Case("FLTrust", fresh(fltrust, own), reads=2.5),  # 2: products and norms, then the mean
        Case("CGE", fresh(cge), reads=2.3),  # 2: norms, then the mean; so are the next five
        Case("norm bound", fresh(norm_bound), reads=2.3),
        Case("clipping + mean", clipped(clipping), reads=2.3),
        Case("ARC + mean", clipped(arc), reads=2.3),
        Case("MoNNA", fresh(monna), reads=2.3),
        Case("MeaMed", fresh(mea_med), reads=2.5),  # 1 and a network of all ranks
        Case("Phocas", fresh(phocas), reads=2.5),  # the same
        Case("RLR", fresh(rlr), reads=3.5),  # 2: signs, then the mean
        Case("SignGuard", lambda: sign_guard(0)(Updates(rows), F)),  # 2.1 and a gather
        Case("LASA", fresh(lasa)),  # 4: norms, a quantile, two passes; sorted samples
        Case("FedSECA", fresh(fed_seca)),  # 5: norms, a quantile, signs twice, the values
    ]


def byzfl_rules(rows: Tensor) -> dict[str, Callable[[], object]]:
    try:
        import byzfl
    except ImportError:
        return {}
    rules: dict[str, Callable[[], object]] = {
        "multi_krum": lambda: byzfl.MultiKrum(F)(rows),
        "rfa": lambda: byzfl.GeometricMedian(nu=1e-7, T=8)(rows),
        "median": lambda: byzfl.Median()(rows),
        "trimmed_mean": lambda: byzfl.TrMean(F)(rows),
        "centered_clipping": lambda: byzfl.CenteredClipping(L=1, tau=10.0)(rows),
    }
    if N * (N - F) * rows.shape[1] * rows.element_size() <= READS_MEMORY_LIMIT:  # what it forms
        rules["nnm"] = lambda: byzfl.MultiKrum(F)(byzfl.NNM(F)(rows))
    return rules


def clock(call: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(todo: list[Case], rows: Tensor, repeats: int) -> float:
    """Fill in the times of the cases; returns the lower bound in seconds."""
    ones = torch.ones(N)
    floor = []
    for case in todo:  # kernels are compiled before any clock runs
        case.ours()
    for _ in range(repeats):
        for case in todo:
            floor.append(clock(lambda: ones @ rows))
            for way in ("ours", "plain", "byzfl"):
                call = getattr(case, way)
                if call is not None:
                    case.seconds.setdefault(way, []).append(clock(call))
    return statistics.median(floor)


def table(todo: list[Case], floor: float) -> list[dict[str, object]]:
    lines = []
    for case in todo:
        ours, plain_s, byzfl_s = (case.middle(way) for way in ("ours", "plain", "byzfl"))
        ratio = plain_s / ours if plain_s else None
        reads = ours / floor
        goals = [f">= {case.ratio:g}x"] if case.ratio else []
        goals += [f"<= {case.reads:g} reads"] if case.reads else []
        judged = [ratio >= case.ratio] if case.ratio and ratio else []
        judged += [reads <= case.reads] if case.reads else []
        lines.append(
            {
                "case": case.name,
                "ours_ms": ours * 1e3,
                "reads": reads,
                "plain_ms": plain_s * 1e3 if plain_s else None,
                "against_plain": ratio,
                "byzfl_ms": byzfl_s * 1e3 if byzfl_s else None,
                "against_byzfl": byzfl_s / ours if byzfl_s else None,
                "target": ", ".join(goals) or None,
                "met": all(judged) if judged else None,
            }
        )
    return lines


def show(lines: list[dict[str, object]]) -> str:
    heads = ["case", "ours ms", "reads", "plain ms", "x plain", "ByzFL ms", "x ByzFL", "target", ""]
    text = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * 6 + " --- | --- |"]
    for line in lines:
        cells = []
        for key, value in line.items():
            if value is None:
                cells.append("")
            elif key == "met":
                cells.append("met" if value else "MISSED")
            elif isinstance(value, float):
                cells.append(f"{value:.2f}" if value < 10 else f"{value:.0f}")
            else:
                cells.append(str(value))
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text)


def peak_memory(dimension: int) -> float:
    """Peak extra bytes of the server side over n d * 4, in its own process."""
    warm = update_rows(3000)
    round_of_the_server(warm[: N - F])
    rows = update_rows(dimension)
    gc.collect()
    before = status("VmRSS:")
    round_of_the_server(rows[: N - F])
    return max(status("VmHWM:") - before, 0) / (dimension * 4)


def status(key: str) -> int:
    """Bytes from Linux's status file; not ``ru_maxrss``, which a child inherits from its parent."""
    words = Path("/proc/self/status").read_text().split()
    return int(words[words.index(key) + 1]) * 1024


def worst_distance_error(dimension: int) -> dict[str, float]:
    """Worst relative error of honest squared distances against float64, per hostile case."""
    draws = generator(1, "benchmark")
    company = {
        "mean/spread 1e4, alone": None,
        "mean/spread 1e4, beside 1e2": 1e2,
        "mean/spread 1e4, beside 5e9": 5e9,
        "mean/spread 1e4, beside -g": -1.0,
    }
    common = 1e4 * 0.01 * torch.randn(dimension, generator=draws)
    rows = torch.empty(N, dimension)
    for row in rows:
        row.normal_(0, 0.01, generator=draws).add_(common)
    honest = N - F
    exact = torch.zeros(honest, honest, dtype=torch.float64)
    for start in range(0, dimension, 65536):
        part = rows[:honest, start : start + 65536].double()
        part -= part[0].clone()
        exact += part @ part.T
    exact = exact.diagonal()[:, None] + exact.diagonal()[None] - 2 * exact
    off = ~torch.eye(honest, dtype=torch.bool)
    worst = {}
    for name, value in company.items():
        if value is not None:
            rows[honest:] = -common if value < 0 else value
        seen = Updates(rows if value is not None else rows[:honest]).squared_distances()
        error = (seen[:honest, :honest] - exact).abs() / exact
        worst[name] = float(error[off].max())
    return worst


def machine() -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{named[0] if named else platform.processor()} x {os.cpu_count()}",
        "load": os.getloadavg(),
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "compiled kernels": native.enabled(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dimension", type=int, default=PAPER_DIMENSION)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--ours", action="store_true", help="time our side and the floor only")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--peak", action="store_true", help="print the peak memory and stop")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        print(peak_memory(arguments.dimension))
        return
    rows = update_rows(arguments.dimension)
    todo = [case for case in cases(rows) if arguments.only.lower() in case.name.lower()]
    if arguments.ours:
        for case in todo:
            case.plain = case.byzfl = None
    floor = measure(todo, rows, arguments.repeats)
    lines = table(todo, floor)
    print(show(lines))
    print(f"\none read of {N} x {arguments.dimension}: {floor * 1e3:.1f} ms of processor time")
    del rows
    command = [sys.executable, __file__, "--peak", "--dimension", str(arguments.dimension)]
    peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(f"peak extra memory: {peak:.1f} d x 4 bytes (target <= {0.25 * N + 8:g})")
    errors = worst_distance_error(min(arguments.dimension, 500_000))
    for name, error in errors.items():
        print(f"distance error, {name}: {error:.1e} (target <= 1e-4)")
    about = machine()
    print(about)
    if arguments.json is not None:
        result = {
            "machine": about,
            "n": N,
            "f": F,
            "dimension": arguments.dimension,
            "repeats": arguments.repeats,
            "floor_ms": floor * 1e3,
            "cases": lines,
            "peak_extra_memory_in_d_floats": peak,
            "distance_error": errors,
        }
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
