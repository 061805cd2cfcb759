"""An own rule that cannot serve is told so in words, before or at its first answer."""

import pytest
import torch

from fl_platform.config import ConfigError, compose, refuse_missing_data
from fl_platform.core import Aggregate, Updates
from fl_platform.defenses.chain import Chain
from fl_platform.federated.callbacks.roles import Adversary
from fl_platform.grid.progress_table import newest
from fl_platform.tracking.journal import encode

PARTS = """
from torch import Tensor
from fl_platform.core import Aggregate, Updates

__all__ = ["bare", "keyed", "named", "placed", "plain", "served"]


def bare(honest: Updates, num_byzantine: int):
    return honest.matrix[:num_byzantine]


def named(rows: Updates, num_byzantine: int) -> Tensor:
    return rows.matrix[:num_byzantine]


def placed(honest: Updates, num_byzantine: int, scale: float = 2.0) -> Tensor:
    return honest.matrix[:num_byzantine]


def keyed(honest: Updates, num_byzantine: int, *, scale: float = 2.0) -> Tensor:
    return honest.matrix[:num_byzantine]


def plain(updates: Updates, num_byzantine: int) -> Tensor:
    return updates.mean()


def served(updates: Updates, num_byzantine: int, sizes: Tensor | None) -> Aggregate:
    return Aggregate(updates.mean())
"""


@pytest.fixture
def home(tmp_path):
    (tmp_path / "ownrules.py").write_text(PARTS)
    return tmp_path


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("attack._target_=ownrules.bare", "return annotation -> Tensor, got no annotation"),
        ("attack._target_=ownrules.named", "first parameter named honest or .*, got rows"),
        (
            "attack._target_=ownrules.placed",
            r"parameter scale cannot be configured; .*\*, scale",
        ),
        ("defense._target_=ownrules.plain", "return annotation -> Aggregate, got Tensor"),
        ("defense._target_=ownrules.keyed", "return annotation -> Aggregate"),
    ],
)
def test_a_rule_that_cannot_serve_says_what_to_write(home, override, told) -> None:
    with pytest.raises(ConfigError, match=told):
        compose([override], home, plugins=["ownrules"])


def test_rules_that_serve_are_taken(home) -> None:
    config = compose(
        [
            "attack._target_=ownrules.keyed",
            "defense._target_=ownrules.served",
            "~defense.weighting",
        ],
        home,
        plugins=["ownrules"],
    )
    assert config.attack["scale"] == 2.0


def test_a_defense_may_answer_with_a_plain_vector() -> None:
    rows = Updates(torch.arange(12.0).view(4, 3))
    answer = Chain(lambda updates, num_byzantine: updates.mean())(rows, 1)
    assert isinstance(answer, Aggregate)
    assert torch.equal(answer.vector, rows.mean())
    assert answer.weights is None
    for wrong in (rows.matrix, None, [1.0]):
        with pytest.raises(TypeError, match=r"to return an Aggregate or a \(d,\) tensor, got"):
            Chain(lambda updates, num_byzantine, wrong=wrong: wrong)(rows, 1)


def test_an_attack_must_answer_with_a_tensor() -> None:
    def attack(honest, num_byzantine):
        return honest

    with pytest.raises(TypeError, match="attack to return a tensor of rows, got Updates"):
        Adversary(attack).attack(Updates(torch.ones(3, 2)), 1, query=None)


def test_a_missing_data_file_says_where_it_was_looked_for(tmp_path, monkeypatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    config = compose(["task=arrays", "task.data.file=mine.npz"], tmp_path)
    with pytest.raises(ConfigError, match=rf"data\.file: .*{tmp_path}/data/mine.npz, got none"):
        refuse_missing_data(config, tmp_path)
    (work / "mine.npz").write_bytes(b"")
    with pytest.raises(ConfigError, match=f"Found {work}/mine.npz: use task.data.file="):
        refuse_missing_data(config, tmp_path)
    refuse_missing_data(
        compose(["task=arrays", f"task.data.file={work}/mine.npz"], tmp_path), tmp_path
    )


def test_the_newest_round_of_a_journal_is_its_own_number(tmp_path) -> None:
    journal = tmp_path / "journal.jsonl"
    record = {"kind": "metrics", "step": 30, "time": 0.0, "values": {"test/accuracy": 0.5}}
    journal.write_text(encode(record) + "\n")
    assert newest(journal) == (30, 50.0)


@pytest.mark.parametrize("threads", [1025, 1_000_000])
def test_more_threads_than_a_process_bears_are_refused(threads, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"runtime\.threads: expected at most 1024"):
        compose([f"runtime.threads={threads}"], tmp_path)
