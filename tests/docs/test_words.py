"""Plain words: no personified programs, "per" for rates, one meaning per word."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = sorted((REPOSITORY / "fl_platform").rglob("*.py"))
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"]
PAGES += sorted((REPOSITORY / "docs").rglob("*.md"))
CONFIGS = sorted((REPOSITORY / "conf").rglob("*.yaml"))
CONFIGS += sorted((REPOSITORY / "tuning").rglob("*.yaml"))

COUNTS = (
    "(one|seconds?|steps|images|samples|rounds|rows|lines|classes|values|numbers|bytes|bits|pixels"
    "|participants|calls|launch|launches|points|keys|evaluations|trials|runs|clients|times|passes)"
)
PER = "(round|second|step|client|batch|image|seed|cell|run|commit|record|machine|key|path|side|run)"
# Phrase -> what to write instead. A phrase is here only if no sentence of the project needs it.
BANNED = {
    r"(is|are|was|were|be|being|as|still|when) told": "assumes f; the message says; is recorded",
    r"(whoever|nobody|somebody|anybody)": "the part that is meant: no process, another user",
    rf"{COUNTS} a {PER}": "per for rates",
    r"(remembers|forgets|wants|hears|dies|woken)": "keeps, requires, receives, ends, is started",
    r"without a word": "unexpectedly",
    r"look(s|ed)? after": "manage",
    r"come(s)? home": "reach",
    r"lives? in": "is in",
    r"the (very|mere)": "the same; only",
    r"as (it|they) stands?": "unchanged",
    r"dead (owner|run|process|worker)": "ended",
    r"living (owner|process|worker)": "running",
}  # fmt: skip
PATTERN = re.compile(r"\b(?:" + "|".join(BANNED) + r")\b", re.IGNORECASE)


def sentences(source: str) -> list[tuple[int, str]]:
    """(line, text) of every comment and of every string with a blank: docstrings, messages."""
    found = [
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return found + [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]


def banned(text: str) -> list[str]:
    prose = re.sub(r"```.*?```|``.*?``|`[^`]*`", "", text, flags=re.DOTALL)
    return [m.group() for m in PATTERN.finditer(prose)]


def test_code_speaks_in_plain_words():
    assert not [
        f"{path.relative_to(REPOSITORY)}:{line}: {words}"
        for path in PACKAGE
        for line, text in sentences(path.read_text(encoding="utf-8"))
        if (words := banned(text))
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_speak_in_plain_words(path):
    assert not banned(path.read_text(encoding="utf-8"))


def test_comments_of_configurations_speak_in_plain_words():
    assert not [
        f"{path.relative_to(REPOSITORY)}: {words}"
        for path in CONFIGS
        if (words := banned("\n".join(re.findall(r"#.*", path.read_text(encoding="utf-8")))))
    ]


@pytest.mark.parametrize(
    "planted",
    [
        '"""The rule is told f."""',
        "# nobody waits for it",
        'raise ValueError(f"{x}: its process ended without a word.")',
        "rate = 3  # seconds a round",
        '"""A lock that dies with its holder."""',
    ],
)
def test_a_planted_sentence_is_found(planted):
    assert [words for _, text in sentences(planted) if (words := banned(text))]


def test_a_plain_sentence_and_quoted_code_pass():
    for text in ("Seconds per round.", "The lock is released.", "``{'told': 1}`` and `nobody`"):
        assert not banned(text)
