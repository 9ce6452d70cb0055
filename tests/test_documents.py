"""Documents keep up with the package: links, pages, quoted code and quoted messages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pytest_labelleak
from pytest_labelleak import defences
from pytest_labelleak.attacks import builtin_attacks

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pytest_labelleak"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
FRONT = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
MOST_WORDS = 1000

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PYTHON = re.compile(r"^```python[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: Parts of a quoted message that differ from one run to the next: names, figures, omissions.
_VARIABLE = re.compile(r"\.\.\.|'[^']*'|\([^)]*\)|\S*\d\S*")


def prose_of(text):
    """Return `text` without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def public_names(path):
    """Return the names that a document's examples import from the package, with the module of each."""
    for block in _PYTHON.findall(path.read_text("utf-8")):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pytest_labelleak"):
                yield from ((node.module, alias.name) for alias in node.names)


def messages():
    """Return every string of the package's source, an f-string's variable parts left out."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "\0".join(part.value for part in node.values if isinstance(part, ast.Constant))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def quotes():
    """Return the messages that the headings of the FAQ quote."""
    headings = re.findall(r"^### (.*)$", (ROOT / "docs" / "faq.md").read_text("utf-8"), re.MULTILINE)
    return [quote for heading in headings for quote in re.findall(r"`([^`]+)`", heading)]


def fixed_part(quote):
    """Return the longest part of a quoted message that every such message has."""
    quote = quote.removeprefix("inconclusive: ").removeprefix("not applicable, because ")
    return max((part.strip() for part in _VARIABLE.split(quote)), key=len)


def test_the_front_page_is_short():
    words = len((ROOT / "README.md").read_text("utf-8").split())
    assert words <= MOST_WORDS, f"README.md has {words} words, at most {MOST_WORDS} are read"


@pytest.mark.parametrize("path", FRONT, ids=lambda path: path.name)
def test_links_of_front_pages_work_outside_of_the_repository(path):
    relative = [link for link in _LINK.findall(prose_of(path.read_text("utf-8"))) if not link.startswith("https://")]
    assert not relative


def test_links_to_files_of_the_repository_lead_somewhere():
    start = "https://github.com/pytest-labelleak/pytest-labelleak/"
    for path in (*FRONT, *DOCS):
        for link in _LINK.findall(path.read_text("utf-8")):
            if link.startswith(start):
                _, _, file = link.removeprefix(start).split("/", 2)
                assert (ROOT / file).exists(), f"{path.name} links to {file}"


def test_links_to_pages_of_the_site_lead_somewhere():
    start = "https://pytest-labelleak.github.io/pytest-labelleak/"
    for path in (*FRONT, *DOCS):
        for link in _LINK.findall(path.read_text("utf-8")):
            if link.startswith(start):
                page = link.removeprefix(start).strip("/") or "index"
                assert any((ROOT / "docs" / name).is_file() for name in (f"{page}.md", f"{page}/index.md")), link


@pytest.mark.parametrize("path", [*FRONT, *DOCS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_are_python_and_import_public_names(path):
    for module, name in public_names(path):
        if module == "pytest_labelleak":
            assert name in pytest_labelleak.__all__
        else:
            source = PACKAGE.joinpath(*module.split(".")[1:])
            source = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
            assert re.search(rf"\b{name}\b", source.read_text("utf-8")), f"{module} has no {name}"


def test_every_defence_has_its_page():
    for name in set(defences.__all__) - {"Defence", "NoiseLaw", "builtin_defences", "resolve"}:
        slug = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
        assert (ROOT / "docs" / "defences" / f"{slug}.md").read_text("utf-8").startswith(f"# {name}\n")


def test_every_attack_has_its_row():
    text = (ROOT / "docs" / "attacks.md").read_text("utf-8")
    for name in builtin_attacks():
        assert re.search(rf"^\|.*`{name}`", text, re.MULTILINE), name


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]))
    assert listed == {path.relative_to(ROOT / "docs").as_posix() for path in DOCS}


def test_every_term_of_the_glossary_stands_once():
    terms = re.findall(r"^\| \*\*([^|]+)\*\* \|", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.MULTILINE)
    assert len(terms) > 50
    assert len(terms) == len(set(terms))


def test_the_faq_quotes_messages_that_the_package_has():
    known = list(messages())
    assert len(quotes()) >= 15
    for quote in quotes():
        part = fixed_part(quote)
        assert len(part) >= 10
        assert any(part in message for message in known), f"no message holds {part!r}"
