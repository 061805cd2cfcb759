"""One door per kind of input and output: a search of the syntax trees finds who goes round it.

Each search is a function from a tree to lines; `PLANTED` has what each of them must find.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fl_platform"
Search = Callable[[ast.AST], Iterator[tuple[int, str]]]
# Folders whose code reads or writes below mlruns/, or reads a workspace's configuration.
RECORDS = (
    "config",
    "console.py",
    "tracking",
    "run",
    "grid",
    "study",
    "repro",
    "report",
    "federated",
    "cli.py",
    "api.py",
)


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Each call with its name as written, imported names resolved to ``module.name``."""
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            head, dot, rest = name.partition(".")
            yield node, imported.get(head, head) + dot + rest


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Text literals that are no docstrings."""
    told = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node


def printers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What reaches a terminal past `Guarded` (standard streams) and `Terminal` (rich)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("__stdout__", "__stderr__"):
            yield node.lineno, ast.unparse(node)
    for node, name in calls(tree):
        last = name.rpartition(".")[2]
        markup = [word for word in node.keywords if word.arg == "markup"]
        if (
            name in ("rich.print", "rich.console.Console", "fl_platform.core.streams.raw")
            or last in ("from_markup", "StreamHandler", "write_raw", "fdopen_stdout")
            or name.startswith(("typer.echo", "typer.secho", "click.echo", "click.secho"))
            or (name == "os.write" and ast.unparse(node.args[0]) in ("1", "2"))
            or (name == "open" and ast.unparse(node.args[0]).startswith("'/dev/"))
            or any(ast.unparse(word.value) != "False" for word in markup)
        ):
            yield node.lineno, ast.unparse(node)[:80]


def stream_writes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Writes and flushes of standard streams, which may be closed or full."""
    for node, name in calls(tree):
        if re.fullmatch(r"sys\.(stdout|stderr)\.(write|writelines|flush|buffer\..*)", name):
            yield node.lineno, name


def csv_writers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What writes CSV past `csv_text`."""
    for node, name in calls(tree):
        if name in ("csv.writer", "csv.DictWriter") or (
            name.endswith(".to_csv") and not name.endswith("formats.to_csv")
        ):
            yield node.lineno, name


def html_writers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Tags in literals, and whatever switches escaping off."""
    for node in texts(tree):
        if re.search(
            r"</?(a|b|p|td|th|tr|div|span|table|h\d|html|body|img|script|ul|li)\b", node.value
        ):
            yield node.lineno, node.value[:60]
    for node, name in calls(tree):
        off = [word for word in node.keywords if word.arg == "autoescape"]
        bare = name.endswith("Environment") and "jinja2" in name and not off
        if name.endswith("Markup") or bare or any(ast.unparse(o.value) != "True" for o in off):
            yield node.lineno, ast.unparse(node)[:80]


def latex_writers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Commands of LaTeX in literals."""
    for node in texts(tree):
        if re.search(
            r"\\(begin|end|textbf|underline|caption|label|[a-z]+rule|multicolumn)\b", node.value
        ):
            yield node.lineno, node.value[:60]


def mlflow_writers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Texts that go to MLflow uncleaned: its entities and the client's calls that write."""
    written = r".*client\.(log_|set_|create_|update_|rename_)\w+"
    for node, name in calls(tree):
        last = name.rpartition(".")[2]
        if last in ("Param", "RunTag", "ExperimentTag") or re.fullmatch(written, name):
            yield node.lineno, ast.unparse(node)[:80]


def openers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What opens a path and follows a link that lies there."""
    for node, name in calls(tree):
        source = ast.unparse(node)
        last = name.rpartition(".")[2]
        if node.args and in_memory(node.args[0]):
            continue
        if (
            (name == "os.open" and "O_NOFOLLOW" not in source)
            or name in ("open", "io.open", "numpy.load", "np.load", "numpy.savez", "torch.load")
            or name.endswith(("ZipFile", "TarFile", "Image.open", "sqlite3.connect"))
            or (last in ("write_text", "write_bytes", "read_text", "read_bytes", "touch"))
            or (last == "open" and "." in name and not name.startswith(("os.", "fl_platform.")))
            or last in ("savefig", "print_png", "print_figure")
            or name in ("shutil.copy", "shutil.copyfile", "shutil.copytree", "shutil.move")
        ):
            yield node.lineno, source[:80]


def in_memory(node: ast.expr) -> bool:
    """Whether a file argument is a buffer, by the names that this package gives to buffers."""
    names = ("drawn", "data", "stored", "weights", "content")
    return ast.unparse(node).startswith("io.BytesIO(") or (
        isinstance(node, ast.Name) and node.id in names
    )


def modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """``python -m`` without ``-P``: the working directory would come first on the path."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            words = [each.value for each in node.elts if isinstance(each, ast.Constant)]
            if "-m" in words and not {"-P", "-I"} & set(words):
                yield node.lineno, ast.unparse(node)[:80]
    for text in texts(tree):
        if re.search(r"(^|\s)-m \w", text.value) and not re.search(r" -[PI]", text.value):
            yield text.lineno, text.value[:80]


def readers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """JSON and YAML read past `core/outside.py`, and text in the locale's encoding."""
    parsers = ("json.loads", "json.load", "yaml.safe_load", "yaml.load", "yaml.full_load")
    for node, name in calls(tree):
        said = {word.arg for word in node.keywords}
        mode = next((a.value for a in node.args if isinstance(a, ast.Constant)), "r")
        ours = name.startswith(("os.", "fl_platform."))
        opens = name == "open" or (name.endswith(".open") and not ours)
        opens = opens and not (node.args and in_memory(node.args[0]))
        if name in parsers or name.endswith("OmegaConf.load"):
            yield node.lineno, name
        elif name.rpartition(".")[2] in ("read_text", "write_text") and "encoding" not in said:
            yield node.lineno, f"{name} without encoding"
        elif opens and not {"encoding", "formats"} & said and "b" not in str(mode):
            yield node.lineno, f"{ast.unparse(node)[:60]} without encoding"


def importers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Imports of a module whose name is not written in the code."""
    for node, name in calls(tree):
        written = node.args and isinstance(node.args[0], ast.Constant)
        last = name.rpartition(".")[2]
        whole = name in ("__import__", "exec", "eval")
        if (whole or last == "import_module") and not written:
            yield node.lineno, ast.unparse(node)[:80]


def found_by(search: Search, folders: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """file -> findings."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not folders or name.partition("/")[0] in folders:
            told = [text for _, text in search(ast.parse(path.read_text(encoding="utf-8")))]
            if told:
                found[name] = told
    return found


# What each search may find: file -> pattern of every finding there. The door itself, and what is
# right for the reason beside it.
ALLOWED: dict[Search, dict[str, str]] = {
    printers: {
        "core/streams.py": r"self\.write_raw\(visible",
        "core/terminal.py": r"raw\(super",
        "federated/callbacks/progress.py": r"raw\(",  # its label is cleaned, its codes are its own
        "tracking/follower.py": r"os\.write\(1,",  # a pipe to the command, which prints it
    },
    stream_writes: {
        "core/streams.py": r"sys\.stderr\.flush",  # the guarded one
        "grid/worker.py": r".*flush",  # before the streams become a file
    },
    csv_writers: {"report/formats.py": r"csv\.DictWriter"},
    html_writers: {"report/formats.py": ""},
    latex_writers: {"report/latex.py": ""},
    mlflow_writers: {
        "tracking/mlflow/mlflow_exporter.py": "",  # cleans; see the test of hostile records
        # the names are cleaned, the rest is the store's own or numbers
        "tracking/mlflow/logged_model.py": "",
        "tracking/mlflow/level.py": r".*Param\(key, params\.get\(key",  # from the store itself
        "tracking/mlflow/store.py": r"client\.create_experiment\(name",  # cleaned above
        "tracking/mlflow/ui.py": r"client\.set_experiment_tag\(number, key, value",  # our own
    },
    modules: {"__main__.py": r"expected typer"},  # a sentence to a person
    readers: {
        "core/outside.py": r"json\.loads|archive\.open",  # bytes
        "data/cifar10.py": r"tarfile\.open",  # bytes, checked by their digest
        "data/idx.py": r"gzip\.open",  # bytes
        "tracking/folder_archive.py": r"tarfile\.open",  # bytes, checked by their digest
        # what these read, they have written a moment before
        "run/build.py": "json", "study/problem.py": "json", "tracking/run_folder.py": "json",
        "adapters/conformance/golden.py": "json",  # a reader to copy; reads files of the package
        "tracking/follower.py": "json",
        "study/minimax.py": r"session\.open\(", "study/runner.py": r"session\.open\(",  # no file
    },
    importers: {
        "config/targets.py": "",  # after the check that the target may be called
        "tracking/exporter.py": "",  # a name that `check_exporter` has passed
        "__init__.py": "", "core/lazy.py": "",  # names of this package
        "core/native/cuda.py": r".*cuda\.bindings",
        "adapters/packages.py": "", "adapters/conformance/peers.py": "",  # libraries by name
        "adapters/conformance/with_krum.py": "",
    },
    openers: {
        "config/static_signature.py": r"file\.read_text",  # source of a rule that may be called
        "config/targets.py": r"source\.read_text",  # likewise
        "report/html.py": r".*page\.css",
        "report/published.py": "",  # of the package
        "repro/schedule.py": "",  # a person's own systemd folder
        "run/provenance.py": r"path\.read_bytes|_CPUINFO",  # sources, and the kernel's file
        "study/minimax.py": r"session\.open\(", "study/runner.py": r"session\.open\(",  # no file
        "study/storage.py": r"sqlite3\.connect\(fresh",
        "tracking/folder_archive.py": r"tarfile\.open",  # in a temporary folder of its own
        "tracking/atomic.py": r"os\.open\(temporary, flags",  # flags hold O_NOFOLLOW
        "tracking/lock.py": r"Path\(f'/proc|Path\(f\"/proc|_BOOT_ID",
        "tracking/mlflow/logged_model.py": r"shutil\.copytree\(.*ignore=_links",
        "tracking/mlflow/store.py": r"sqlite3",  # the store may lie elsewhere, by a link
        "tracking/parent_run.py": r"path\.read_bytes",  # of a report that was just written
    },
}  # fmt: skip
FOLDERS: dict[Search, tuple[str, ...]] = {openers: RECORDS}


@pytest.mark.parametrize("search", ALLOWED, ids=lambda search: search.__name__)
def test_nobody_goes_round_the_door(search: Search) -> None:
    found = found_by(search, FOLDERS.get(search, ()))
    allowed = ALLOWED[search]
    round_it = {
        file: bad
        for file, told in found.items()
        if (bad := [t for t in told if file not in allowed or not re.match(allowed[file], t)])
    }
    assert round_it == {}
    assert set(allowed) <= set(found)  # no leave is given that nobody needs


PLANTED: dict[Search, list[str]] = {
    printers: [
        "from rich.console import Console\nConsole().print(x)", "from rich import print\nprint(x)",
        "import rich.console\nrich.console.Console(file=f)", "typer.echo(x)", "click.secho(x)",
        "sys.__stderr__.write(x)", "os.write(2, x)", "open('/dev/tty', 'w').write(x)",
        "console.print(x, markup=True)", "Text.from_markup(x)", "logging.StreamHandler()",
        "from fl_platform.core.streams import raw\nraw(sys.stdout).write(x)",
    ],
    stream_writes: ["sys.stderr.write(x)", "sys.stdout.flush()", "sys.stdout.buffer.write(x)"],
    csv_writers: [
        "csv.writer(f)", "from csv import DictWriter\nDictWriter(f, n)", "frame.to_csv(path)",
    ],
    html_writers: [
        "f'<td>{name}</td>'", "jinja2.Environment(autoescape=False)", "jinja2.Environment()",
        "from markupsafe import Markup\nMarkup(x)", "path.write_text('<html>' + x)",
    ],
    latex_writers: ["'\\\\textbf{' + name + '}'", "f'\\\\begin{{tabular}} {x}'"],
    mlflow_writers: [
        "client.set_tag(r, k, v)", "self.client.log_param(r, k, v)", "RunTag(k, v)",
        "from mlflow.entities import Param as P\nP(k, v)", "client.create_experiment(n)",
    ],
    modules: [
        "[sys.executable, '-m', 'mlflow']", "(python, '-m', 'x')", "f'{python} -m x'.split()",
        "line = 'python3 -u -m x'",
    ],
    readers: [
        "json.loads(t)", "from json import load\nload(f)", "yaml.safe_load(t)", "OmegaConf.load(p)",
        "p.read_text()", "p.write_text(t)", "open(p)", "p.open('w')",
    ],
    importers: ["importlib.import_module(name)", "import importlib as i\ni.import_module(f'{p}.x')",
                "from importlib import import_module\nimport_module(n)", "__import__(n)",
                "eval(t)"],
    openers: [
        "os.open(p, os.O_RDONLY)", "open(p, 'rb')", "p.open('a')", "p.write_bytes(b)",
        "p.read_text(encoding='utf-8')", "figure.savefig(path)", "np.load(path)",
        "from zipfile import ZipFile\nZipFile(p)", "sqlite3.connect(p)", "p.touch()",
        "canvas.print_png(str(path))", "shutil.copy(a, b)",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("search", "source"), [(search, each) for search, given in PLANTED.items() for each in given]
)
def test_the_search_finds_what_is_planted(search: Search, source: str) -> None:
    assert list(search(ast.parse(source)))


def test_each_search_has_its_plants_and_leaves_what_is_right() -> None:
    assert set(PLANTED) == set(ALLOWED)
    right = """
print(name)
console.print(x, markup=False)
os.open(p, os.O_RDONLY | os.O_NOFOLLOW)
[sys.executable, "-P", "-m", "mlflow"]
path.write_text(t, encoding="utf-8")
figure.savefig(drawn, format="png")
"""
    for search in ALLOWED:
        found = [text for _, text in search(ast.parse(right))]
        assert not found or (
            search is openers and found == ["path.write_text(t, encoding='utf-8')"]
        )


def test_the_page_of_a_report_escapes_all_but_its_own_tables_and_style() -> None:
    template = (PACKAGE / "report" / "page.html.j2").read_text(encoding="utf-8")
    assert set(re.findall(r"{{ *(\S+) *\| *safe *}}", template)) <= {"item.html", "style"}
    assert len(re.findall(r"\bsafe\b", template.replace("'unsafe-", ""))) == 3
