"""Every file and every section that a page names exists."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
NAMES = [page.relative_to(REPOSITORY).as_posix() for page in PAGES]
EXAMPLES = {"docs/extend", "docs/python.md"}  # their files are made by the reader


def anchors(page):
    """Anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", [n for n in NAMES if not any(n.startswith(e) for e in EXAMPLES)])
def test_named_modules_exist(name):
    text = re.sub(r"```.*?```", "", (REPOSITORY / name).read_text(encoding="utf-8"), flags=re.S)
    for module in re.findall(r"`((?:\w+/)+\w+\.(?:py|cpp|cu))`", text):
        if "NAME" in module:  # a place for the reader's own
            continue
        assert any((root / module).exists() for root in (REPOSITORY, REPOSITORY / "fl_platform")), (
            module
        )


@pytest.mark.parametrize("name", NAMES)
def test_linked_pages_and_sections_exist(name):
    page = REPOSITORY / name
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            path, _, section = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), target
            assert not section or section in anchors(file), target
