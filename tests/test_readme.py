"""The README's example is run as it stands, and its commands exist."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()


def test_the_fifteen_lines_train_a_model():
    block = re.search(r"<!-- example:start -->\n```python\n(.*?)```", README, re.DOTALL)
    code = [line for line in block[1].splitlines() if line.strip()]
    assert len([line for line in code if not re.match(r"(from|import) ", line)]) <= 15
    names = {}
    exec(compile(block[1], "README.md", "exec"), names)
    module, inputs, labels = (names[name] for name in ("module", "inputs", "labels"))
    right = (module.model(inputs.flatten(0, 1)).argmax(1) == labels.flatten()).float().mean()
    assert right > 0.5  # three classes: chance is a third


def test_every_make_target_that_is_told_exists():
    targets = set(
        re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    )
    told = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", README, re.MULTILINE))
    assert told
    assert told <= targets


def test_every_page_that_is_linked_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (REPOSITORY / target).exists(), target
