"""S2: no line of the package loads or runs what a stranger wrote."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fl_platform

PACKAGE = Path(fl_platform.__file__).parent
# It derives from the unpickler to admit three names, and reads only digest-checked files.
READER = PACKAGE / "data" / "cifar10_pickle.py"
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "marshal.loads", "marshal.load", "shelve.open",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "dill.load", "dill.loads",
    "cloudpickle.load", "cloudpickle.loads", "shutil.unpack_archive", "pandas.read_pickle",
    "pd.read_pickle", "torch.jit.load", "torch.hub.load", "runpy.run_path",
    "hydra.utils.instantiate", "instantiate", "tempfile.mktemp",
}  # fmt: skip


def faults(source: str) -> Iterator[str]:
    """What is unsafe in ``source``, a line each."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            module = getattr(node, "module", None)
            for alias in node.names:
                name = f"{module}.{alias.name}" if module else alias.name
                banned = name.split(".")[0] in ("dill", "joblib", "marshal")
                if banned or name in FORBIDDEN or name == "torch.load":
                    yield f"{node.lineno}: {name}"
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        said = {word.arg: ast.unparse(word.value) for word in node.keywords}
        bad = (
            name in FORBIDDEN
            or said.get("weights_only") == "False"
            or said.get("allow_pickle") == "True"
            or said.get("shell") == "True"
            or (name == "torch.load" and said.get("weights_only") != "True")
            or ("ckpt_path" in said and said.get("weights_only") != "True")
            or (name.endswith(".load_from_checkpoint") and said.get("weights_only") != "True")
            or (name.endswith(("extractall", ".extract")) and said.get("filter") != "'data'")
        )
        if bad:
            yield f"{node.lineno}: {ast.unparse(node)[:80]}"


def test_the_package_loads_nothing_unsafely():
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 100
    found = [f"{f.relative_to(PACKAGE)}:{x}" for f in files for x in faults(f.read_text())]
    assert found == []
    unpicklers = [f for f in files if "Unpickler" in f.read_text()]
    assert unpicklers == [READER]


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')", "import pickle\npickle.load(f)", "from pickle import loads", "import dill",
        "torch.load(f)", "torch.load(f, weights_only=False)", "np.load(f, allow_pickle=True)",
        "archive.extractall(p)", "archive.extractall(p, filter='fully_trusted')", "yaml.load(t)",
        "subprocess.run(c, shell=True)", "os.system('x')", "trainer.fit(m, weights_only=False)",
        "trainer.fit(m, ckpt_path=p)", "M.load_from_checkpoint(p)", "from torch import load",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(source):
    assert list(faults(source))


@pytest.mark.parametrize(
    "source", ["model.eval()", "torch.load(f, weights_only=True)", "t.extractall(p, filter='data')"]
)
def test_the_search_leaves_what_is_safe(source):
    assert not list(faults(source))
