"""A Flower strategy with one of our defenses, driven by Flower's own loop over a grid in memory."""

import numpy as np
import pytest
import torch

from fl_platform.adapters import MissingPackage, flower_strategy
from fl_platform.attacks import strike
from fl_platform.core.context import Context
from fl_platform.defenses import Chain, foolsgold, mean, median, nnm

CLIENTS, DIMENSION = 8, 6


def test_without_flower_one_line_says_what_to_install():
    try:
        import flwr  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(MissingPackage, match="pip install flwr"):
            flower_strategy(median, 2)
    else:
        pytest.skip("Flower is installed")


def drift(client, round_):
    """The update ``w - w_i`` that a client of these tests sends."""
    stream = torch.Generator().manual_seed(100 * round_ + client)
    return torch.randn(DIMENSION, generator=stream, dtype=torch.float64)


def grid_of(app):
    class Memory:
        """Nodes in this process: each subtracts its drift from the model."""

        def get_node_ids(self):
            return [7 * client + 1 for client in range(CLIENTS)]

        def send_and_receive(self, messages, *, timeout=None):
            return [self.reply(message) for message in messages]

        def reply(self, message):
            content, client = message.content, (message.metadata.dst_node_id - 1) // 7
            metrics = app.MetricRecord({"num-examples": client + 1, "loss": 1.0})
            if message.metadata.message_type != "train":
                answer = app.RecordDict({"metrics": metrics})
            else:
                got = content["arrays"]
                moved = drift(client, content["config"]["server-round"])
                weights = got["a"].numpy() - moved[:4].reshape(2, 2).numpy()
                arrays = {
                    "a": app.Array(weights),
                    "count": app.Array(np.asarray(got["count"].numpy() + 2)),
                    "b": app.Array(got["b"].numpy() - moved[4:].numpy()),
                }
                answer = app.RecordDict({"arrays": app.ArrayRecord(arrays), "metrics": metrics})
            return app.Message(answer, reply_to=message)

    return Memory()


def trained(strategy, rounds):
    """Flower's loop on a grid in memory: the model, the counter and Flower's result."""
    app = pytest.importorskip("flwr.app", reason="Flower is not installed")
    from flwr.supercore.task_identity import TaskIdentity  # set by Flower's server application

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    start = {
        "a": app.Array(torch.zeros(2, 2, dtype=torch.float64).numpy()),
        "count": app.Array(torch.zeros((), dtype=torch.int64).numpy()),
        "b": app.Array(torch.zeros(2, dtype=torch.float64).numpy()),
    }
    result = strategy.start(grid_of(app), app.ArrayRecord(start), num_rounds=rounds)
    values = {name: torch.as_tensor(array.numpy()) for name, array in result.arrays.items()}
    return torch.cat([values["a"].reshape(-1), values["b"]]), values["count"], result


@pytest.mark.parametrize("defense", [mean, median, Chain(mean, [nnm])])
def test_three_rounds_are_the_defense_on_the_updates(defense):
    pytest.importorskip("flwr", reason="Flower is not installed")
    model, count, result = trained(flower_strategy(defense, 2), 3)
    chain = defense if isinstance(defense, Chain) else Chain(defense)
    expected = torch.zeros(DIMENSION, dtype=torch.float64)
    for round_ in (1, 2, 3):
        rows = torch.stack([drift(client, round_) for client in range(CLIENTS)])
        expected = expected - chain(rows, 2).vector
    assert torch.allclose(model, expected, atol=1e-12)
    assert count.dtype == torch.int64
    assert count == 6
    assert result.train_metrics_clientapp[1]["loss"] == pytest.approx(1)


def test_the_rule_is_told_which_client_sent_which_row():
    pytest.importorskip("flwr", reason="Flower is not installed")
    strategy = flower_strategy(foolsgold(), 2)
    model, _, _ = trained(strategy, 2)
    rule, expected = foolsgold(), torch.zeros(DIMENSION, dtype=torch.float64)
    for round_ in (1, 2):
        rows = torch.stack([drift(client, round_) for client in range(CLIENTS)])
        known = Context(clients=torch.arange(CLIENTS))
        expected = expected - Chain(rule)(rows, 2, context=known).vector
    assert torch.allclose(model, expected, atol=1e-9)


def test_an_attack_takes_the_place_of_f_nodes():
    pytest.importorskip("flwr", reason="Flower is not installed")
    strategy = flower_strategy(mean, 2, attack=strike(nu=1.0))
    model, _, _ = trained(strategy, 1)
    rows = torch.stack([drift(client, 1) for client in range(CLIENTS)])
    first = strategy.replied[:2]
    kept = [client for client in range(CLIENTS) if 7 * client + 1 not in first]
    expected = -torch.cat([rows[kept], strike(rows[kept], 2, nu=1.0)]).mean(0)
    assert torch.allclose(model, expected, atol=1e-12)
