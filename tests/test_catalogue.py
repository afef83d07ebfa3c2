"""The catalogue of causes and the page that is made from it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from pytest_trainstep._diagnose import catalogue, page, rules

PAGE = Path(__file__).parent.parent / "docs" / "causes.md"
ENTRIES = list(catalogue.catalogue().values())


def test_the_page_is_what_the_catalogue_says():
    assert PAGE.read_text() == page.page(), "run: python -m pytest_trainstep._diagnose.page > docs/causes.md"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_is_complete(entry):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", entry.name)
    assert entry.claims
    for text in (entry.fault, entry.example, entry.fix, entry.on_purpose):
        assert text.strip()
        assert text.isascii()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_example_is_python(entry):
    compile("def example(self):\n" + textwrap.indent(entry.example, "    ") + "\n    pass", entry.name, "exec")


def test_every_rule_about_weights_has_an_entry():
    assert {rules.name_of(rule) for rule in rules.RULES} <= set(catalogue.catalogue())


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one():
    with pytest.raises(KeyError, match="lr-zero"):
        catalogue.explain("lr-zer")


def test_the_listing_has_one_line_for_each_cause():
    assert len(catalogue.listing().splitlines()) == len(ENTRIES)
