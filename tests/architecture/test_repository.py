"""What lies in the repository, and what must not."""

import re

import pytest

from tests.architecture import tree

UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(wor[k]|roo[t]|hom[e])/\w")
INDEX_HOST = re.compile(
    r"p[y]pi[.]org|p[y]thonhosted[.]org|n[p]mjs[.]org|proxy[.]go[l]ang[.]org|deb[.]d[e]bian[.]org|static[.]cr[a]tes[.]io"
)
WIDE_BIND = re.compile(r"(?<![\d./])0[.]0[.]0[.]0(?![\d.]|/\d)")
"""An address to listen on; a URL that a test shows to be refused is none, nor is a network with its length."""
README_LINES = 60
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)")


def _lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:80]}"
        for name in tree.tracked()
        for number, line in enumerate(tree.text(name).splitlines(), start=1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize(
    "pattern", [UNFINISHED, MACHINE_PATH, INDEX_HOST, WIDE_BIND], ids=lambda pattern: pattern.pattern[:12]
)
def test_nothing_unfinished_or_of_one_machine(pattern: re.Pattern[str]) -> None:
    """No file holds unfinished work, a path of one machine, the host of a package index, or an address open to all."""
    assert _lines_with(pattern) == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (UNFINISHED, "# TO" + "DO: later"),
        (MACHINE_PATH, 'open("/ro' + 'ot/x")'),
        (INDEX_HOST, "https://py" + "pi.org/simple"),
        (WIDE_BIND, 'bind("0.0.' + '0.0")'),
    ],
)
def test_what_must_not_be_there_is_found(pattern: re.Pattern[str], line: str) -> None:
    """Each pattern sees what it is there for."""
    assert pattern.search(line)


def test_files_are_text() -> None:
    """Every file can be reviewed: UTF-8 text without NUL bytes, and nothing built."""
    binary = [name for name in tree.tracked() if b"\0" in (tree.ROOT / name).read_bytes()]
    assert binary == []


def test_there_is_one_kind_of_lock() -> None:
    """Hashed requirements are the lock; a second one would drift."""
    assert [name for name in tree.tracked() if name.endswith(("uv.lock", "poetry.lock", "Pipfile.lock"))] == []


def test_ignores_are_explained() -> None:
    """Each noqa, type: ignore and no cover gives its reason on its own line."""
    found = {
        name: tree.unexplained_ignores(tree.text(name))
        for name in tree.sources(*tree.PACKAGES, "tests", "bench", "scripts")
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_an_unexplained_ignore_is_found() -> None:
    """An ignore with codes only and one with a single word are reported; explained ones pass."""
    bare = "x = 1  # no" + "qa: S105 - fine\ny = 2  # type: " + "ignore[attr-defined]\n"
    explained = (
        "x = 1  # no" + "qa: S105 - the name of a kind\ny = 2  # type: " + "ignore[misc]  # no types published\n"
    )
    assert len(tree.unexplained_ignores(bare)) == 2
    assert tree.unexplained_ignores(explained) == []


def test_the_readme_fits_one_screen() -> None:
    """A newcomer reads the front page without scrolling far."""
    assert tree.text("README.md").count("\n") <= README_LINES


def test_links_between_documents_resolve() -> None:
    """Each relative link of a Markdown page leads to a file or folder of the repository."""
    broken = [
        f"{name}: {target}"
        for name in tree.tracked()
        if name.endswith(".md")
        for target in LINK.findall(tree.text(name))
        if not ((tree.ROOT / name).parent / target).exists()
    ]
    assert broken == []
