"""Docstrings and comments name their subjects: the word "what" is rare, and no sentence starts with it or turns on it.

As a command it prints the figures: ``python tests/test_prose.py [file.md ...]``.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pytest_labelleak"

#: Occurrences of "what" per 1000 words from which a folder fails. Measured: scipy 0.0, optimistix 0.7, attrs 0.8.
LIMIT = 2.0

#: Words of which "what" is the object or the complement, and so stands in a noun's place.
_BEFORE_A_NOUN = (
    "about|after|against|and|are|as|at|be|before|behind|beside|besides|between|beyond|but|by|being|during|except|exactly|"
    "for|from|in|into|is|just|like|merely|near|of|on|only|onto|or|over|past|per|simply|since|than|through|to|towards|"
    "under|unlike|until|upon|versus|via|was|were|with|within|without"
)

_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
_WHAT = re.compile(r"\bwhat\b", re.IGNORECASE)
#: A sentence or clause that starts with "what"; then "what" as the object of a preposition or as a complement. Only
#: "what to do" may follow any word: it is a question and no noun.
_TURNS_ON_IT = re.compile(
    r"(?:\A|[.;:,!?(\[–—]|\n\s*\n|\s-)\s*(?P<start>what)\b"
    rf"|\b(?:{_BEFORE_A_NOUN})\s+(?P<noun>what)\b(?!\s+to\b)",
    re.IGNORECASE,
)
_CODE = re.compile(r"``.*?``|`[^`\n]*`", re.DOTALL)
_DIRECTIVE = re.compile(r"^(?:noqa|type:|pragma:|fmt:|mypy:|!).*?(?:\s-\s|$)")


class Passage(NamedTuple):
    """A docstring, a paragraph of comments or a page, and the line on which it starts."""

    line: int
    text: str


class Fault(NamedTuple):
    """A sentence that starts with "what" or turns on it."""

    line: int
    excerpt: str


class Rate(NamedTuple):
    """How often "what" stands among some words."""

    words: int
    whats: int

    @property
    def per_thousand(self):
        return 1000.0 * self.whats / max(self.words, 1)


def passages_of(source):
    """Return the docstrings and the comments of a module; comments on adjoining lines are one passage."""
    return sorted([*_docstrings(source), *_comments(source)])


def _docstrings(source):
    for node in ast.walk(ast.parse(source)):
        # A string that is a statement: the docstring of a module, a class or a function, or a remark on an attribute.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines = node.value.value.split("\n")
            prose = ["" if line.lstrip().startswith((">>>", "... ")) else line for line in lines]
            yield Passage(node.lineno, "\n".join(prose))


def _comments(source):
    last, joined, block = None, False, []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        text = _DIRECTIVE.sub("", token.string.lstrip("#: "))
        alone = token.line.strip().startswith("#")
        if block and alone and joined and last == token.start[0] - 1:
            block.append(text)
        else:
            if block:
                yield Passage(last - len(block) + 1, "\n".join(block))
            block = [text]
        last, joined = token.start[0], alone
    if block:
        yield Passage(last - len(block) + 1, "\n".join(block))


def page_of(text):
    """Return the prose of a Markdown page as one passage, its blocks of code left out."""
    lines, fenced = [], False
    for line in text.split("\n"):
        fence = line.lstrip().startswith(("```", "~~~"))
        lines.append("" if fence or fenced else line)
        fenced ^= fence
    return Passage(1, "\n".join(lines))


def _without_code(text):
    return _CODE.sub(lambda found: "x" + "\n" * found.group().count("\n"), text)


def rate_of(passages):
    texts = [_without_code(passage.text) for passage in passages]
    return Rate(sum(len(_WORD.findall(text)) for text in texts), sum(len(_WHAT.findall(text)) for text in texts))


def faults_of(passages):
    """Return the sentences that start with "what" or turn on it."""
    faults = []
    for passage in passages:
        text = _without_code(passage.text)
        for found in _TURNS_ON_IT.finditer(text):
            at = found.start("start") if found["start"] else found.start("noun")
            excerpt = " ".join(text[max(0, at - 30) : at + 40].split())
            faults.append(Fault(passage.line + text.count("\n", 0, at), excerpt))
    return faults


def modules_of(room):
    """Return the modules of a room: those of a folder and below it, or of the package's top level alone."""
    return sorted(PACKAGE.glob("*.py") if room == PACKAGE.name else (ROOT / room).rglob("*.py"))


def rooms():
    inner = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    return [PACKAGE.name, *(f"{PACKAGE.name}/{name}" for name in inner), "lingvo_patches", "examples", "benchmarks"]


def _read(room):
    return {path: passages_of(path.read_text("utf-8")) for path in modules_of(room)}


@pytest.mark.parametrize("room", rooms())
def test_what_is_rare(room):
    rate = rate_of(passage for passages in _read(room).values() for passage in passages)
    assert rate.words > 50, f"{room}: {rate.words} words were read"
    assert rate.per_thousand < LIMIT, f'{room}: "what" {rate.whats} times in {rate.words} words'


@pytest.mark.parametrize("room", rooms())
def test_no_sentence_turns_on_what(room):
    found = [
        f"{path.relative_to(ROOT)}:{fault.line}: {fault.excerpt}"
        for path, passages in _read(room).items()
        for fault in faults_of(passages)
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "What an attack found.",
        "The label is kept. What remains is noise.",
        "The update is left as it is; what\nfollows reads it.",
        "One of two: what was measured.",
        "The norm of what is left.",
        "Larger than what noise explains.",
        "The columns (what users see).",
        "The sum is what is shared.",
        "A figure\n\nwhat it means",
    ],
)
def test_a_sentence_that_turns_on_what_is_found(text):
    assert len(faults_of([Passage(1, text)])) == 1


@pytest.mark.parametrize("text", ["It says why and what to change.", "Whatever the order.", "The name `of what` is."])
def test_another_sentence_is_left_alone(text):
    assert faults_of([Passage(1, text)]) == []


def test_docstrings_and_comments_are_read_and_code_is_not():
    source = (
        '"""One two.\n\n    >>> what\n"""\n'
        "x = 'what'  # three\n"
        "# four of\n# what  is five\n"
        "y = 1  # noqa: F841 - six\n"
        "def f():\n    '''Seven.'''\n"
    )
    passages = passages_of(source)
    assert [passage.line for passage in passages] == [1, 5, 6, 8, 10]
    assert rate_of(passages) == Rate(10, 1)
    assert faults_of(passages) == [Fault(7, "four of what is five")]


def test_a_page_is_read_without_its_blocks_of_code():
    page = page_of("One two.\n```\nwhat\n```\nof what\n")
    assert rate_of([page]) == Rate(4, 1)
    assert [fault.line for fault in faults_of([page])] == [5]


def test_the_rate_is_per_thousand_words():
    assert Rate(500, 1).per_thousand == LIMIT


def _print_figures(pages):
    print(f"{'':40s}   words   what   per 1000   sentences that turn on it")
    everything = []
    named = {room: [p for passages in _read(room).values() for p in passages] for room in [*rooms(), "tests"]}
    for name, passages in named.items():
        _print_row(name, passages)
        if name.startswith((PACKAGE.name, "lingvo_patches")):
            everything += passages
    _print_row("the package, with lingvo_patches", everything)
    for page in pages:
        _print_row(page, [page_of(Path(page).read_text("utf-8"))])


def _print_row(name, passages):
    rate = rate_of(passages)
    print(f"{name:40s} {rate.words:7d} {rate.whats:6d} {rate.per_thousand:10.2f} {len(faults_of(passages)):4d}")


if __name__ == "__main__":
    _print_figures(sys.argv[1:])
