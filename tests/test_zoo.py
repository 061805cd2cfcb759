"""Every attack against every defense behind every mixing: three rounds on digits, server side.

A linear model and twelve clients with few classes each, two of them Byzantine, so that thousands
of combinations fit in one process. What is a mean of rows must say which one.
"""

import copy
import itertools
from pathlib import Path

import pytest
import torch
import yaml
from sklearn.datasets import load_digits

from fl_platform import attacks, defenses
from fl_platform.core import Updates
from fl_platform.core.context import Context, asks
from fl_platform.core.rule import first_parameters
from fl_platform.defenses import Chain

CONF = Path(__file__).resolve().parents[1] / "conf"
N, F, CLASSES, ROUNDS = 12, 2, 10, 3
SMALL = {"gas": {"groups": 8}, "fang": {"evaluations": 4}}
SMALL |= {name: {"evaluations": 4} for name in ("optimal_alie", "optimal_ipm")}
SMALL["agr_tailored"] = {"tolerance": 0.5}
SMALL["monna"] = {"pivot": "reference"}
SCALES = {"arc", "clipping", "unit_rows"}  # rules that keep each row its client's


def choices(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def steps_of(mixing):
    """The rules of a mixing in order, from its file: ``nnm@nnm`` is the rule ``nnm``."""
    node = yaml.safe_load((CONF / "mixing" / f"{mixing}.yaml").read_text()) or {}
    if "_target_" in node:
        return [mixing]
    names = [each.partition("@")[0] for each in node.get("defaults", [])]
    return [name for name in names if name != "_self_"]


def made(home, name):
    """A rule of its own for one combination, with few queries and groups."""
    rule, settings = getattr(home, name), SMALL.get(name, {})
    if isinstance(rule, type):
        return rule(0, **settings)
    return rule(**settings) if settings else rule


@pytest.fixture(scope="module")
def clients():
    images, labels = load_digits(return_X_y=True)
    order = labels[: 60 * N].argsort(kind="stable").reshape(2 * N, 30)  # two shards a client
    index = torch.tensor(order.reshape(2, N, 30).swapaxes(0, 1).reshape(N, 60))
    return torch.tensor(images, dtype=torch.float32)[index] / 16, torch.tensor(labels)[index]


def gradients(model, images, labels):
    """``(k, 640)`` gradients of the softmax loss, one per client."""
    probabilities = (images @ model.view(64, CLASSES)).softmax(2)
    wrong = probabilities - torch.nn.functional.one_hot(labels, CLASSES)
    return (images.transpose(1, 2) @ wrong).flatten(1) / images.shape[1]


def sent_by(attack, honest, own, told, query):
    """The Byzantine rows, from what the attack asks."""
    model, images, labels = own
    inputs = first_parameters(attack)
    if inputs[:1] == ["update"]:
        return torch.stack([attack(row) for row in gradients(*own)])
    if inputs[:1] == ["labels"]:
        return gradients(model, images, attack(labels, CLASSES))
    known = {"query": query, **told.asked(asks(attack))}
    return attack(honest, F, **{name: known[name] for name in inputs if name in known})


def three_rounds(clients, attack_name, defense_name, mixing_name):
    mixings = steps_of(mixing_name)
    attack = made(attacks, attack_name)
    chain = Chain(made(defenses, defense_name), [made(defenses, name) for name in mixings])
    images, labels = clients
    model = torch.zeros(64 * CLASSES)
    for index in range(ROUNDS):
        rows = gradients(model, images, labels)
        honest, before = Updates(rows[F:]), rows.clone()
        told = Context(
            clients=torch.arange(N).roll(-F), round=index, sizes=torch.full((N,), 60),
            losses=torch.ones(N), reference=rows[F:].mean(0), model=model,
            layers=(320, 320),
        )  # fmt: skip

        def query(sent, told=told, honest=honest):
            return copy.deepcopy(chain)(honest.extended(sent), F, context=told).vector

        received = honest
        if attack_name != "absent":
            own = model, images[:F], labels[:F]
            received = honest.extended(sent_by(attack, honest, own, told, query))
        told = told.rows(torch.arange(len(received)))
        answer = chain(received, F, context=told)
        assert torch.equal(rows, before)
        assert answer.vector.shape == model.shape
        assert answer.vector.isfinite().all()
        if answer.weights is not None:
            assert answer.weights.shape == (len(received),)
            total = float(answer.weights.sum()) + answer.anchor_weight
            assert total == pytest.approx(1, abs=1e-6)
        assert answer.dropped is None or bool((answer.dropped >= N - F).all())
        model = model - answer.vector


@pytest.mark.nightly
@pytest.mark.parametrize("attack", choices("attack"))
def test_every_attack_defense_and_mixing_stays_finite_and_within_its_contract(clients, attack):
    failed = []
    for defense, mixing in itertools.product(choices("defense"), choices("mixing")):
        if "clients" in asks(made(defenses, defense)) and not set(steps_of(mixing)) <= SCALES:
            with pytest.raises(ValueError, match="Expected no mixing of rows"):
                three_rounds(clients, attack, defense, mixing)
            continue
        try:
            three_rounds(clients, attack, defense, mixing)
        except (AssertionError, ValueError, TypeError, RuntimeError) as error:
            failed.append(f"{defense} behind {mixing}: {error!r}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize(
    ("attack", "defense", "mixing"),
    [("label_flip", "fltrust", "arc"), ("fang", "monna", "nnm"), ("absent", "lasa", "bucketing")],
)
def test_a_few_of_them(clients, attack, defense, mixing):
    three_rounds(clients, attack, defense, mixing)


def test_every_mixing_is_made_of_rules():
    """A new file with several steps needs no entry here."""
    made_of = {name: steps_of(name) for name in choices("mixing")}
    assert all(hasattr(defenses, step) for steps in made_of.values() for step in steps)
    assert [name for name, steps in made_of.items() if not steps] == ["none"]
    assert made_of["nnm_bucketing"] == ["nnm", "bucketing"]
