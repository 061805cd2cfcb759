"""The examples in docstrings of attacks, defenses, metrics and core run as they stand.

`doctest`'s own search skips decorated functions, as every rule is; here each public name of a
module is looked at. An example starts from an empty namespace, so that it can be copied.
"""

import doctest
import importlib
import inspect
import pkgutil

import pytest
import torch

ROOMS = ("attacks", "defenses", "metrics", "core")
LEAST = 60  # lines of examples


def modules():
    for room in ROOMS:
        package = importlib.import_module(f"fl_platform.{room}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def examples():
    """One `doctest.DocTest` per docstring with an example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in modules():
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__
            if own and not name.startswith("_") and callable(value):
                full = f"{module.__name__}.{name}"
                yield from finder.find(inspect.unwrap(value), full, module=False, globs={})


EXAMPLES = {test.name: test for test in examples() if test.examples}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gives_what_it_shows(name):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    said = []
    try:
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        outcome = runner.run(EXAMPLES[name], out=said.append, clear_globs=False)
    finally:
        torch.set_num_threads(threads)
    assert not outcome.failed, "".join(said)


def test_the_examples_are_found():
    lines = sum(len(test.examples) for test in EXAMPLES.values())
    assert lines >= LEAST
    rooms = {name.split(".")[1] for name in EXAMPLES}
    assert rooms == set(ROOMS)
    assert "fl_platform.attacks.strike.strike" in EXAMPLES  # decorated


def test_a_wrong_example_is_noticed():
    parsed = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(parsed, out=lambda text: None).failed
