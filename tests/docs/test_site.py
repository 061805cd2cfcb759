"""The documentation site: built without a warning, with every formula, and usable offline."""

import importlib
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import bs4
import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("attacks", "defenses", "metrics")


def public(room):
    """Name -> object of every public function and class of a package; ``dnc``, not also ``DnC``."""
    package = importlib.import_module(f"fl_platform.{room}")
    by_object = {getattr(package, name): name for name in sorted(package.__all__)}
    return {name: value for value, name in by_object.items()}


NAMES = [(room, name) for room in ROOMS for name in public(room)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that the recipe of ``make site`` fills; a warning fails every test here."""
    recipe = re.search(r"^site:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    program, *words = shlex.split(recipe)
    assert program == "$(BIN)/python"
    assert {"-W", "--keep-going"} <= set(words)
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, *words[:-1], str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def described(site):
    """Name of a public object -> its description on the site."""
    found = {}
    for room in ROOMS:
        page = bs4.BeautifulSoup((site / f"docs/api/{room}.html").read_text(), "html.parser")
        for term in page.select("dl.py > dt[id]"):
            found[term["id"]] = term.find_next_sibling("dd")
    return found


def formulas(docstring):
    """Numbers of displayed and of inline formulas in a docstring."""
    return len(re.findall(r"\.\. math::", docstring)), len(re.findall(r":math:`", docstring))


def in_maths(description):
    """The same of a description, without those of its members."""
    found = description.select("math")
    own = [node for node in found if node.find_parent("dl", class_="py") is description.parent]
    shown = [node for node in own if node.get("display") == "block"]
    return len(shown), len(own) - len(shown)


@pytest.mark.parametrize(("room", "name"), NAMES, ids=lambda value: value)
def test_a_public_object_is_described_with_its_formulas(described, room, name):
    description = described[f"fl_platform.{room}.{name}"]
    written = formulas(inspect.getdoc(public(room)[name]))
    assert written[0] >= 1, "expected a formula under `.. math::`"
    assert in_maths(description) == written
    assert all(node.find(["mi", "mo", "mn"]) for node in description.select("math"))


def test_fractions_and_indices_of_accents_are_read_as_latex_reads_them(described):
    descriptions = [described[f"fl_platform.{room}.{name}"] for room, name in NAMES]
    stacks = [stack for one in descriptions for stack in one.select("munderover")]
    assert stacks  # sums with both limits
    assert not [
        stack for stack in stacks if stack.find_all(recursive=False)[2].string in set("ˉˆ˜")
    ]
    halves = 0
    for (room, name), description in zip(NAMES, descriptions, strict=True):
        parts = [[part.get_text() for part in f(recursive=False)] for f in description("mfrac")]
        docstring = inspect.getdoc(public(room)[name])
        for above, below in re.findall(r"\\t?frac(\w)(\w)", docstring):
            assert [above, below] in parts
            halves += 1
    assert halves


def test_every_link_within_the_site_leads_somewhere(site):
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    anchors = {path: {*re.findall(r'\bid="([^"]+)"', text), ""} for path, text in pages.items()}
    assert len(pages) > 40
    for path, text in pages.items():
        for link in re.findall(r'\b(?:href|src)="([^"]+)"', text):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, section = unquote(link).partition("#")
            target = (path.parent / file.partition("?")[0]).resolve() if file else path
            assert target.exists(), f"{path.relative_to(site)}: {link}"
            # the theme's "#" is the top of a page
            assert section in anchors.get(target, {section}), f"{path.relative_to(site)}: {link}"


def test_the_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        loads = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", path.read_text())
        assert not [tag for tag in loads if re.search(r'(?:src|href)="(?:https?:)?//', tag)]


def test_the_start_page_asks_in_a_newcomers_order():
    text = (ROOT / "docs/index.md").read_text()
    asked = ["What is it?", "Install", "First run", "Read the result", "Compare"]
    asked += ["Add your own rule", "Tune", "Reproduce"]
    assert [
        title for title in re.findall(r"^## (.+)$", text, re.MULTILINE) if title in asked
    ] == asked
    install = text[text.index("## Install") : text.index("## First run")]
    assert install.index("pip install") < install.index("make demo")
