"""The federated module as a user of Lightning meets it: monitors, loops, checkpoints, loggers."""

import csv
import warnings
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from fl_platform.core.schedules import Cosine
from fl_platform.defenses import median
from fl_platform.federated import Aggregator, Evaluator, FederatedModule, LocalTraining
from fl_platform.federated.evaluation import evaluate

LOCAL = LocalTraining(batch=4, lr=0.05, momentum=0.5)


def trainer_of(*callbacks, rounds=3, logger=False, **options):
    return Trainer(
        max_epochs=rounds,
        accelerator="cpu",
        devices=1,
        logger=logger,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )


def table_of(logger):
    text = (Path(logger.log_dir) / "metrics.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture
def loader(federation):
    samples = federation.samples
    return DataLoader(TensorDataset(samples.inputs, samples.targets), 32)


def test_all_that_is_logged_can_be_monitored(federation, network, tmp_path):
    logger = CSVLogger(tmp_path)
    evaluator = Evaluator({"validation": federation.samples})
    trainer = trainer_of(Aggregator(median), evaluator, logger=logger)
    trainer.fit(FederatedModule(network(), federation, LOCAL))
    *_, last = table_of(logger)
    written = {key: float(value) for key, value in last.items() if key != "step"}
    assert written.keys() >= {"round/loss", "validation/accuracy", "validation/loss", "time/local"}
    assert {k: float(v) for k, v in trainer.callback_metrics.items()} == pytest.approx(written)


def test_early_stopping_ends_where_a_logged_value_no_longer_falls(federation, network):
    stopping = EarlyStopping(monitor="round/loss", min_delta=10.0, patience=2)
    trainer = trainer_of(Aggregator(median), stopping, rounds=50)
    trainer.fit(FederatedModule(network(), federation, LOCAL))
    assert trainer.global_step == 3  # the first round is the best, two more are waited for


def test_the_best_checkpoint_is_that_of_the_best_score_and_can_be_loaded(
    federation, network, loader, tmp_path
):
    best = ModelCheckpoint(tmp_path, "{step}", monitor="validation/accuracy", mode="max")
    evaluator = Evaluator({"validation": federation.samples})
    trainer = trainer_of(Aggregator(median), evaluator, best, rounds=6)
    trainer.fit(FederatedModule(network(), federation, LOCAL, byzantine=0.2, seed=7))
    loaded = FederatedModule.load_from_checkpoint(
        best.best_model_path, model=network(seed=1), federation=federation
    )
    assert (loaded.seed, loaded.local, loaded.hparams["byzantine"]) == (7, LOCAL, 0.2)
    accuracy = evaluate(loaded.model, federation.samples, 3).accuracy
    assert accuracy == pytest.approx(float(best.best_model_score))
    (scores,) = trainer_of().validate(loaded, loader, verbose=False)
    assert scores["validation/accuracy"] == pytest.approx(accuracy)


def test_a_checkpoint_names_what_it_does_not_contain(federation, network, tmp_path):
    def server(parameters):
        return torch.optim.SGD(parameters, lr=0.5)

    local = LocalTraining(batch=4, schedule=Cosine(rounds=3))
    trainer = trainer_of(Aggregator(median), rounds=1)
    trainer.fit(FederatedModule(network(), federation, local, server=server))
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    with pytest.raises(TypeError, match=r"got no federation: .*model=network, federation="):
        FederatedModule.load_from_checkpoint(tmp_path / "one.ckpt", model=network())
    given = {"model": network(), "federation": federation}
    with pytest.warns(UserWarning, match=r"was given server=\.\.\., local=\.\.\., which no"):
        FederatedModule.load_from_checkpoint(tmp_path / "one.ckpt", **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        FederatedModule.load_from_checkpoint(
            tmp_path / "one.ckpt", **given, local=local, server=server
        )


class Runs:
    """Its pickle creates a file where it is loaded."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_no_code_of_a_checkpoint_is_run(federation, network, tmp_path):
    trainer = trainer_of(Aggregator(median), rounds=1)
    trainer.fit(FederatedModule(network(), federation, LOCAL))
    path, given = tmp_path / "one.ckpt", {"model": network(), "federation": federation}
    trainer.save_checkpoint(path)
    FederatedModule.load_from_checkpoint(path, **given, weights_only=True)
    with pytest.raises(ValueError, match="Expected weights_only=True, got False"):
        FederatedModule.load_from_checkpoint(path, **given, weights_only=False)
    state = torch.load(path, weights_only=True) | {"more": Runs(tmp_path / "trace")}
    torch.save(state, path)
    with pytest.raises(UnpicklingError):
        FederatedModule.load_from_checkpoint(path, **given)
    assert not (tmp_path / "trace").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "trace").exists()  # the trap is live


def test_outputs_predictions_and_tests_are_those_of_the_network(federation, network, loader):
    module = FederatedModule(network(), federation, LOCAL).eval()
    outputs = module(federation.samples.inputs)
    assert torch.equal(outputs, module.model(federation.samples.inputs))
    assert torch.allclose(torch.cat(trainer_of().predict(module, loader)), outputs)
    (found,) = trainer_of().test(module, loader, verbose=False)
    score = evaluate(module.model, federation.samples, 3)
    assert found["test/accuracy"] == pytest.approx(score.accuracy)
    assert found["test/loss"] == pytest.approx(score.loss, rel=1e-5)


def test_loops_without_loaders_read_the_samples_of_the_evaluator(federation, network, loader):
    held_out = dict.fromkeys(("test", "validation"), federation.samples)
    trainer = trainer_of(Evaluator(held_out))
    module = FederatedModule(network(), federation, LOCAL)
    (own,), (given,) = (
        trainer.test(module, verbose=False),
        trainer.test(module, loader, verbose=False),
    )
    assert own == pytest.approx(given, rel=1e-6)  # other batches, other rounding
    assert trainer.validate(module, verbose=False)[0]["validation/accuracy"] >= 0
    with pytest.raises(ValueError, match="Expected dataloaders"):
        trainer_of().test(module, verbose=False)
    inputs = DataLoader(federation.samples.inputs, 7)  # a loader made after the refusal
    assert len(trainer_of().predict(module, inputs)) == len(inputs)


def test_an_evaluator_reads_a_data_set_and_refuses_a_pair(federation):
    samples = federation.samples
    pairs = TensorDataset(samples.inputs, samples.targets)
    read = Evaluator({"test": pairs}).held_out["test"]
    assert torch.equal(read.inputs, samples.inputs)
    assert torch.equal(read.targets, samples.targets)
    with pytest.raises(TypeError, match=r"Expected Samples\(inputs, targets\).*got tuple"):
        Evaluator({"test": (samples.inputs, samples.targets)})
    with pytest.raises(ValueError, match="at least one sample, got an empty one"):
        Evaluator({"test": TensorDataset(samples.inputs[:0], samples.targets[:0])})


def test_training_batches_are_refused(federation, network, loader):
    module = FederatedModule(network(), federation, LOCAL)
    with pytest.raises(ValueError, match="without training batches"):
        trainer_of(Aggregator(median)).fit(module, loader)


def test_validation_batches_given_to_fit_are_scored_each_round(federation, network, loader):
    trainer = trainer_of(Aggregator(median), rounds=2, num_sanity_val_steps=0)
    module = FederatedModule(network(), federation, LOCAL)
    trainer.fit(module, val_dataloaders=loader)
    accuracy = evaluate(module.model, federation.samples, 3).accuracy
    assert float(trainer.callback_metrics["validation/accuracy"]) == pytest.approx(accuracy)


def test_training_without_validation_batches_warns_of_none(federation, network):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer_of(Aggregator(median)).fit(FederatedModule(network(), federation, LOCAL))
    assert not [
        str(w.message) for w in caught if "val" in str(w.message) or "zero" in str(w.message)
    ]


def test_the_learning_rate_of_a_schedule_is_monitored(federation, network, tmp_path):
    logger = CSVLogger(tmp_path)
    schedule = Cosine(rounds=4)
    module = FederatedModule(network(), federation, LOCAL, server_schedule=schedule)
    trainer = trainer_of(Aggregator(median), LearningRateMonitor(), rounds=4, logger=logger)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module)
    rates = [float(row["lr-SGD"]) for row in table_of(logger) if row["lr-SGD"]]
    assert rates[0] == 1.0
    assert rates[-1] < 1.0


def test_integer_images_are_normalised_like_those_of_the_clients():
    from fl_platform.federated import Federation, Samples

    images = torch.randint(256, (12, 1, 2, 2), dtype=torch.uint8)
    samples = Samples(images, torch.arange(12) % 3, (0.5,), (0.25,))
    federation = Federation(samples, tuple(torch.arange(12).split(4)), 3)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    module = FederatedModule(net, federation, LOCAL)
    assert torch.equal(module(images), net(samples.read(slice(None))[0]))
