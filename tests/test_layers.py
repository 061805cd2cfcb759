"""The layers: an import points only down, and only `tracking/mlflow` imports MLflow."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fl_platform"

LAYERS = [
    {"core"},
    {"data", "models", "config", "metrics", "tracking"},
    {"attacks", "defenses", "report"},
    {"federated", "adapters"},
    {"run"},
    {"grid", "study", "repro", "console", "doctor"},
    {"cli", "api"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
# Within a layer: these may use their neighbours, in this direction only.
NEIGHBOURS = {
    "grid": {"console"},
    "study": {"grid", "console"},
    "repro": {"grid", "console"},
}
FORBIDDEN = {
    "core": {"lightning", "mlflow", "omegaconf", "hydra"},
    "attacks": {"lightning", "mlflow", "omegaconf", "hydra"},
    "defenses": {"lightning", "mlflow", "omegaconf", "hydra"},
    "metrics": {"lightning", "mlflow", "omegaconf", "hydra"},
    "report": {"lightning", "mlflow", "torch", "hydra"},
}


def imports(source):
    """(module, line) of every import statement, those inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno


def faults(room, source, exporter=False):
    """Imports of ``source``, a file of ``room``, that point up or to what it must not know."""
    found = []
    for module, line in imports(source):
        parts = module.split(".")
        if parts[0] == "fl_platform" and len(parts) > 1:
            other = parts[1]
            if other == room:
                continue
            level = LEVEL.get(other)
            beside = other in NEIGHBOURS.get(room, ())
            if level is None or level > LEVEL[room] or (level == LEVEL[room] and not beside):
                found.append(f"line {line}: {room} imports {module}")
        elif parts[0] in FORBIDDEN.get(room, ()) or (parts[0] == "mlflow" and not exporter):
            found.append(f"line {line}: {room} imports {module}")
    return found


def files():
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            yield room, path


@pytest.mark.parametrize(("room", "path"), files(), ids=lambda value: str(value))
def test_imports_point_down(room, path):
    assert room in LEVEL, f"{room} is in no layer: add it to LAYERS"
    exporter = path.parent == PACKAGE / "tracking" / "mlflow"
    assert not faults(room, path.read_text(encoding="utf-8"), exporter), path


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("core", "from fl_platform.attacks import strike"),
        ("attacks", "import lightning.pytorch"),
        ("run", "from fl_platform.grid.runner import run_grid"),
        ("grid", "def f():\n    import mlflow"),
        ("attacks", "from fl_platform.defenses import mean"),
    ],
)
def test_the_check_notices_an_arrow_that_points_up(room, line):
    assert faults(room, line)
