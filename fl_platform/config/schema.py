"""The root of a run's configuration: all settings and their bounds.

Nodes of rules (attack, defense, mixing, the task's data and model) are plain mappings here: their
schema is the signature of the function that they call (``rules.py``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from fl_platform.config.errors import shown
from fl_platform.config.targets import target_name
from fl_platform.config.validation import build_dataclass, fit
from fl_platform.core.attack_schedule import ALWAYS, AttackSchedule
from fl_platform.core.schedules import KINDS, Schedule

Node = dict[str, Any]
MOST_THREADS = 1024
# Prefixes of logged values.
LOGGED = ("class", "client", "model", "result", "round", "skew", "test", "time", "validation")


def schedule_of(node: Node | None, key: str = "schedule") -> Schedule | None:
    """The schedule that ``node`` describes: its ``kind``, and the fields of that kind.

    Raises:
        ConfigError: an unknown kind or field, or a wrong value.
    """
    if node is None:
        return None
    kinds = Literal[tuple(KINDS)]  # type: ignore[valid-type]
    kind = fit(node.get("kind"), kinds, f"{key}.kind")
    return build_dataclass(KINDS[kind], {k: v for k, v in node.items() if k != "kind"}, key)


def attack_schedule(node: Node | None) -> AttackSchedule:
    """The schedule that an attack's ``schedule`` describes; ``ALWAYS`` for null.

    Raises:
        ConfigError: an unknown field, or a wrong value.
    """
    return build_dataclass(AttackSchedule, node or {}, "schedule")


def _filled_schedule(settings: object) -> None:
    """Check the schedule of ``settings`` and fill in its defaults, for one canonical form."""
    node: Node | None = settings.schedule  # type: ignore[attr-defined]
    schedule = schedule_of(node)
    if node is not None and schedule is not None:
        object.__setattr__(settings, "schedule", {"kind": node["kind"], **asdict(schedule)})


def _bounded(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        raise ValueError(f"{name}: expected {expected}, got {shown(got)}.")


def _at_least(low: int, settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        _bounded(value is None or value >= low, name, f"a number >= {low}", value)


def _share(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        _bounded(0 <= value < 1, name, "a number from 0 to below 1", value)


@dataclass(frozen=True, kw_only=True)
class Local:
    """Training of an honest client; its optimizer starts anew in every round."""

    epochs: int | None = None
    steps: int | None = None
    walk: Literal["fresh", "cycling"] = "fresh"
    batch: int
    drop_last: bool = False
    crop: int = 0
    flip: bool = False
    lr: float
    schedule: Node | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", 1)
        both = f"null beside epochs={self.epochs} (exactly one of the two)"
        _bounded(self.epochs is None or self.steps is None, "steps", both, self.steps)
        whole = "fresh with epochs: only steps can end inside a pass (cycling requires steps)"
        _bounded(self.walk == "fresh" or self.steps is not None, "walk", whole, self.walk)
        _filled_schedule(self)
        _at_least(1, self, "epochs", "steps", "batch")
        _at_least(0, self, "weight_decay", "crop")
        _share(self, "momentum")
        for name in ("lr", "clip"):
            value = getattr(self, name)
            _bounded(value is None or value > 0, name, "a number > 0", value)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Data, model, partition of the data over clients, and local training."""

    name: str
    data: Any
    samples: int | None = None
    model: Any
    partition: Literal["iid", "dirichlet", "writer"] | Node
    beta: float | None = None
    minimum: int = 0
    clients: int | None = None
    sampled: int | None = None
    validation: float = 0.0
    root_samples: int | None = None
    rounds: int
    state: Literal["parameters", "all"] = "parameters"
    local: Local

    def __post_init__(self) -> None:
        _bounded(bool(self.name), "name", "a name", self.name)
        _at_least(1, self, "samples", "clients", "sampled", "root_samples", "rounds")
        _at_least(0, self, "minimum")
        _share(self, "validation")
        _bounded(self.beta is None or self.beta > 0, "beta", "a number > 0", self.beta)
        if self.partition == "dirichlet":
            _bounded(self.beta is not None, "beta", "a number > 0 for partition=dirichlet", None)
            _at_least(1, self, "minimum")
        if self.partition != "writer":
            node = self.partition
            how = node if isinstance(node, str) else target_name(node)
            wanted = f"the number of clients for partition={how}"
            _bounded(self.clients is not None, "clients", wanted, None)
        if self.clients is not None and self.sampled is not None:
            most = f"at most task.clients={self.clients}"
            _bounded(self.sampled <= self.clients, "sampled", most, self.sampled)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Seed of the data and their partition; null: the seed of the run."""

    seed: int | None = None

    def __post_init__(self) -> None:
        _at_least(0, self, "seed")


@dataclass(frozen=True, kw_only=True)
class Byzantine:
    """Number of Byzantine clients, their data, and their sampling in a round."""

    fraction: float | None = None
    count: int | None = None
    sampling: Literal["random", "fixed_share"] = "random"
    data: Literal["share", "iid", "none"] = "share"

    def __post_init__(self) -> None:
        if self.fraction is None and self.count is None:
            object.__setattr__(self, "fraction", 0.2)
        both = f"null beside fraction={self.fraction} (exactly one of the two)"
        _bounded(self.fraction is None or self.count is None, "count", both, self.count)
        _at_least(0, self, "count")
        expected = "a share from 0 to below 0.5"
        _bounded(0 <= (self.fraction or 0) < 0.5, "fraction", expected, self.fraction)

    @property
    def key(self) -> str:
        """The key that determines f."""
        return "byzantine.fraction" if self.count is None else "byzantine.count"

    @property
    def share(self) -> float | int:
        """The fraction as a real number, or the count as a whole number."""
        return self.count if self.count is not None else float(self.fraction or 0)

    def number(self, clients: int) -> int:
        """f of a population: the count, or the fraction rounded up as in the official code."""
        if self.count is not None:
            return self.count
        return math.ceil(round(self.share * clients, 9))  # 0.07 * 100 is 7.000000000000001

    def refuse_majority(self, clients: int, described: str) -> None:
        """Refuse more than half of ``clients``, and a fraction that rounds up to half of them.

        Raises:
            ValueError: the message names the key, and the clients as ``described``.
        """
        f = self.number(clients)
        if self.count is None:
            _bounded(2 * f < clients, self.key, f"fewer than half of {described}", f)
        else:
            _bounded(2 * f <= clients, self.key, f"at most half of {described}", f)

    def drawn(self, clients: int, sampled: int) -> int:
        """f_t of each round where ``fixed_share`` draws ``sampled`` participants."""
        return round(self.number(clients) / clients * sampled)


@dataclass(frozen=True, kw_only=True)
class Worker:
    """The momentum of clients over the rounds, its dampening, and the place that stores it."""

    momentum: float = 0.0
    dampening: float = 0.0
    clients: Literal["all", "honest"] = "all"

    def __post_init__(self) -> None:
        _share(self, "momentum", "dampening")
        alone = self.dampening == 0 or self.momentum > 0
        _bounded(alone, "dampening", "0 without worker.momentum", self.dampening)


@dataclass(frozen=True, kw_only=True)
class Server:
    """The server's optimizer, with the aggregate as gradient; SGD with lr 1 is eq. 3."""

    optimizer: Literal["sgd", "fedavgm", "fedadam"] = "sgd"
    lr: float = 1.0
    schedule: Node | None = None
    weight_decay: float = 0.0
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-3

    def __post_init__(self) -> None:
        _filled_schedule(self)
        _at_least(0, self, "weight_decay")
        _share(self, "momentum", "beta1", "beta2")
        for name in ("lr", "eps"):
            _bounded(getattr(self, name) > 0, name, "a number > 0", getattr(self, name))

    def refuse_unused(self) -> None:
        """Raise ``ValueError`` for a changed setting that the optimizer does not use."""
        users = dict.fromkeys(("beta1", "beta2", "eps"), "fedadam") | {"momentum": "fedavgm"}
        for name, user in users.items():
            value, default = getattr(self, name), Server.__dataclass_fields__[name].default
            if self.optimizer != user and value != default:
                raise ValueError(
                    f"server.{name}: expected no value with server.optimizer={self.optimizer},"
                    f" which does not use it, got {value:g}; add server.optimizer={user}."
                )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Rounds per evaluation; the mean of the last ``tail`` evaluations is reported.

    Attributes:
        scores: logged beside accuracy and loss, at least one; ``None`` for none.
    """

    every: int = 1
    tail: int = 10
    scores: list[Literal["f1", "calibration_error", "per_class", "per_client"]] | None = None

    def __post_init__(self) -> None:
        _at_least(1, self, "every", "tail")
        scores = self.scores or []
        _bounded(len(set(scores)) == len(scores), "scores", "each name once", scores)


@dataclass(frozen=True, kw_only=True)
class Observer:
    """Rounds per measurement; 0: never."""

    every: int = 0

    def __post_init__(self) -> None:
        _at_least(0, self, "every")


@dataclass(frozen=True, kw_only=True)
class SkewObserver(Observer):
    """Rounds per skew measurement, and per measurement of its sign-flip null; 0: never."""

    null_every: int = 0

    def __post_init__(self) -> None:
        _at_least(0, self, "every", "null_every")


@dataclass(frozen=True, kw_only=True)
class Observers:
    """Measurements of a round; ``metrics`` by the name under which their values are logged."""

    skew: SkewObserver = field(default_factory=SkewObserver)
    cloud: Observer = field(default_factory=Observer)
    metrics: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.metrics:
            expected = f"a name of its own, none of {', '.join(LOGGED)}"
            _bounded(name not in LOGGED, "metrics", expected, name)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Settings that do not change the result: where and how a run is computed and reported.

    ``name`` is the name of the run; empty: its rules, task and seed. ``model`` saves the final
    network as an MLflow model; ``register`` also registers it under that name.
    """

    name: str = ""
    tracking: str = "mlflow"
    model: bool = False
    register: str = ""
    device: str = "auto"
    threads: int = 1
    precision: Literal["32-true", "64-true", "tf32", "bf16-mixed"] = "32-true"
    deterministic: bool = False
    local: Literal["auto", "sequential", "channels_last", "vmapped", "graphed", "stacked"] = "auto"
    evaluation_batch: int | None = None
    progress: Literal["auto", "bar", "plain", "none"] = "auto"
    fresh: bool = False
    continue_anyway: bool = False

    def __post_init__(self) -> None:
        _at_least(1, self, "threads", "evaluation_batch")
        most = f"at most {MOST_THREADS} (beyond, the thread library ends the process)"
        _bounded(self.threads <= MOST_THREADS, "threads", most, self.threads)
        exporter = re.fullmatch(r"mlflow|journal|[A-Za-z]\w*(\.[A-Za-z]\w*)+", self.tracking)
        expected = "mlflow, journal or an exporter of a plug-in such as package.Name"
        _bounded(exporter is not None, "tracking", expected, self.tracking)
        name = re.fullmatch(r"|[A-Za-z0-9][\w -]{0,99}", self.register)
        wanted = "a name of letters, digits, spaces, - and _, or empty"
        _bounded(name is not None, "register", wanted, self.register)
        known = re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device)
        _bounded(known is not None, "device", "auto, cpu, cuda or cuda:N", self.device)

    @property
    def saves_model(self) -> bool:
        """Whether the final network becomes an MLflow model."""
        return self.model or bool(self.register)


@dataclass(frozen=True, kw_only=True)
class Config:
    """One complete run, created by ``compose`` and identified by ``config_hash``."""

    task: Task
    attack: Node
    defense: Node
    mixing: list[Node] = field(default_factory=list)
    preset: str = "none"
    experiment: str = ""
    byzantine: Byzantine = field(default_factory=Byzantine)
    data: Data = field(default_factory=Data)
    seed: int = 0
    rounds: int
    worker: Worker = field(default_factory=Worker)
    server: Server = field(default_factory=Server)
    evaluation: Evaluation = field(default_factory=Evaluation)
    observers: Observers = field(default_factory=Observers)
    callbacks: dict[str, Node] = field(default_factory=dict)
    loggers: dict[str, Node] = field(default_factory=dict)
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        _at_least(0, self, "seed")
        _bounded(self.seed < 2**63, "seed", "a number below 2**63", self.seed)
        _at_least(1, self, "rounds")
        n = self.task.clients
        if n is not None:
            self.byzantine.refuse_majority(n, f"task.clients={n}")
        share, attack = self.byzantine.share, self._attack
        plays = f"a number above 0 for attack={attack} (with 0 use attack=none)"
        _bounded(share > 0 or attack == "none", self.byzantine.key, plays, share)
        if self.byzantine.data != "share":
            dealt = "share with task.partition=writer, the data's own partition"
            _bounded(self.task.partition != "writer", "byzantine.data", dealt, self.byzantine.data)
        idle = self.byzantine.data == "none" and share > 0 and attack == "none"
        trains = "share or iid for attack=none, with which all clients train"
        _bounded(not idle, "byzantine.data", trains, self.byzantine.data)
        self._check_schedule()
        if n is not None:
            self.refuse_idle(n)

    def _check_schedule(self) -> None:
        """Refuse an attack that no round has, and Byzantine clients that cannot train."""
        node, dealt = self.attack.get("schedule"), self.byzantine.data
        if not isinstance(node, dict):
            return
        schedule = build_dataclass(AttackSchedule, node, "attack.schedule")
        key, name = "attack.schedule", self._attack
        _bounded(name != "none" or schedule == ALWAYS, key, "null for attack=none", node)
        partial = name == "absent" and schedule.ramp > 1
        whole = "0 for attack=absent, which sends nothing and so has no partial strength"
        _bounded(not partial, f"{key}.ramp", whole, schedule.ramp)
        last = f"a round below rounds={self.rounds}"
        _bounded(schedule.start < self.rounds, f"{key}.start", last, schedule.start)
        trains = f"share or iid for {key}, under which Byzantine clients train in some rounds"
        _bounded(dealt != "none" or not schedule.rests, "byzantine.data", trains, dealt)
        shared = f"share for {key}.switch, under which every client is honest at times"
        _bounded(dealt == "share" or not schedule.switch, "byzantine.data", shared, dealt)

    @property
    def data_seed(self) -> int:
        """The seed of the data's own draws: samples, validation set, partition."""
        return self.seed if self.data.seed is None else self.data.seed

    @property
    def _attack(self) -> str:
        return str(self.attack.get("_target_")).rpartition(".")[2]

    def refuse_idle(self, clients: int) -> None:
        """Refuse an attack without Byzantine clients, or with more known updates than a round has.

        Args:
            clients: n of the population; data with writers determine it when they are read.

        Raises:
            ValueError: the message names the key.
        """
        f, sampled = self.byzantine.number(clients), self.task.sampled
        whole = f"at least one Byzantine client of {clients} for attack={self._attack}"
        _bounded(f > 0 or self._attack == "none", self.byzantine.key, whole, f)
        most = clients - f
        if sampled is not None and sampled < clients:
            most = min(most, sampled)
            if self.byzantine.sampling == "fixed_share":
                drawn = self.byzantine.drawn(clients, sampled)
                most = sampled - drawn
                wanted = f"at least one Byzantine client among {sampled} sampled"
                _bounded(drawn > 0 or self._attack == "none", self.byzantine.key, wanted, drawn)
        known = self.attack.get("knowledge")
        if isinstance(known, int) and not isinstance(known, bool):
            shown = f"at most {most} honest updates, the most that a round has, or all"
            _bounded(known <= most, "attack.knowledge", shown, known)


@dataclass(frozen=True, kw_only=True)
class AttackRole:
    """Knowledge of the adversary, and the rounds of its attack."""

    knowledge: Literal["all", "own"] | int = "all"
    schedule: Node | None = None

    def __post_init__(self) -> None:
        schedule = attack_schedule(self.schedule)
        node = None if schedule == ALWAYS else asdict(schedule)
        object.__setattr__(self, "schedule", node)  # one form for one meaning
        if isinstance(self.knowledge, int) and self.knowledge < 1:
            raise ValueError(f"knowledge: expected all, own or k >= 1, got {self.knowledge}.")


@dataclass(frozen=True, kw_only=True)
class DefenseRole:
    """Action of the server if f exceeds the rule's limit, and the assumed f."""

    on_excess_f: Literal["clamp", "keep_model", "error"] = "clamp"
    assumed_f: int | None = None

    def __post_init__(self) -> None:
        if self.assumed_f is not None and self.assumed_f < 0:
            raise ValueError(f"assumed_f: expected null or f >= 0, got {self.assumed_f}.")


@dataclass(frozen=True, kw_only=True)
class MetricRole:
    """Rounds per measurement; the first round is measured."""

    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every: expected a whole number >= 1, got {self.every}.")


ROLES: dict[str, type] = {
    "attack": AttackRole,
    "defense": DefenseRole,
    "observers.metrics": MetricRole,
}


def role_names(group: str) -> tuple[str, ...]:
    """The names of the role settings of a group; none for groups without a role."""
    return tuple(field.name for field in fields(ROLES[group])) if group in ROLES else ()


def role(node: Mapping[str, Any], group: str) -> Any:
    """The role settings in ``node`` with defaults, as the class in ``ROLES``.

    Raises:
        ConfigError: a wrong value.
    """
    said = {name: node[name] for name in role_names(group) if name in node}
    return build_dataclass(ROLES[group], said, group)
