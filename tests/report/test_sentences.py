"""A decimal number in a sentence of the results pages stands in one of the page's tables."""

import re
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "docs" / "results"
BLOCK = re.compile(r"<!-- (?:claims|table): .*?<!-- end -->", re.DOTALL)
NO_RESULT = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)", re.DOTALL)  # commands, settings, links
APART = {  # page -> numbers with a source of their own
    "README": {
        "57.84",  # of the paper
        *("0.06", "2.48"),  # rounded, and ln 12
    },
    "training-end": set(),
    "defense": {
        "9.5",  # colluders left per round, one run
        *("18.3", "12.9"),  # a first form of an attacker, one validation seed
        "2.5",  # a setting
        *("1.1", "1.6"),  # 95 less a share of the table
        *("32.6", "5.7"),  # a bound by formula
    },
}


@pytest.mark.parametrize("page", APART)
def test_decimals_of_the_sentences_stand_in_the_tables(page):
    text = (RESULTS / f"{page}.md").read_text(encoding="utf-8")
    computed = set(re.findall(r"\d+\.\d+", "\n".join(BLOCK.findall(text))))
    written = set(re.findall(r"\d+\.\d+", NO_RESULT.sub("", BLOCK.sub("", text))))
    assert written - computed == APART[page]
