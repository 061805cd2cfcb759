"""What MLflow cannot store is replaced at its last door, for names of experiments too."""

from fl_platform.tracking.mlflow import store
from fl_platform.tracking.mlflow.names import clean, valid_key


class Client:
    asked = ""

    def get_experiment_by_name(self, name):
        self.asked = name.encode().decode()  # as the database does; a surrogate would raise

    def create_experiment(self, name, location, tags):
        assert name == self.asked
        return "1"


def test_an_experiment_whose_name_is_no_utf8_is_found_and_made(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert store.experiment_id(Client(), uri, "caf\udce9\x00") == "1"
    assert (
        clean("caf\udce9\x00") == "caf\N{REPLACEMENT CHARACTER}" * 1 + "\N{REPLACEMENT CHARACTER}"
    )
    assert valid_key("a\udce9[b]") == "a__b_"
