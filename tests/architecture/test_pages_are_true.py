"""The pages say what the source says: every command, option and code, and no others; links lead somewhere."""

import re
from enum import StrEnum
from pathlib import PurePosixPath

import pytest

from inventory.model import ReadState
from reconciler.core.model import Effect, HoldCode, Mode, OutcomeState, VerificationState
from reconciler.core.record import CycleOutcome, LeaverState
from tests.architecture import tree

PAGES = [name for name in tree.tracked() if name.endswith(".md")]
EVERYWHERE = {"--config", "--output", "--help", "--dir", "--pack"}
"""Options that the page of the commands explains once."""


def section(page: str, heading: str) -> str:
    """Return what stands below a heading of a page, up to the next one of any level."""
    return re.split(r"\n#+ ", tree.text(page).split(f"\n{heading}\n")[1])[0]


def coded(text: str) -> list[tuple[str, str]]:
    """Return each table row that begins with something in code, as that and the rest of the row."""
    return re.findall(r"^\| `([a-z_]+)` \|(.*)\|$", text, re.MULTILINE)


def tables(page: str) -> dict[str, dict[str, str]]:
    """Return the tables of a page with coded rows, by the head of their first column."""
    found = {}
    for block in re.split(r"\n\n", tree.text(page)):
        rows = coded(block)
        if rows:
            found[block.splitlines()[0].split("|")[1].strip()] = dict(rows)
    return found


def test_every_command_is_on_the_page_and_no_other() -> None:
    """docs/commands.md has a section for each command."""
    told = re.findall(r"^### `(access-reconciler [a-z -]+)`$", tree.text("docs/commands.md"), re.MULTILINE)
    assert sorted(told) == sorted(name for name, _ in tree.all_commands())


@pytest.mark.parametrize(("name", "command"), tree.all_commands(), ids=lambda one: one if isinstance(one, str) else "")
def test_a_command_is_told_whole(name: str, command: object) -> None:
    """Its section has the example of its help, each option of its own, and the schema of its document."""
    text = section("docs/commands.md", f"### `{name}`")
    shown = f"{getattr(command, 'help', '')}\n{getattr(command, 'epilog', '') or ''}"
    example = next(line for line in shown.splitlines() if "Example:" in line).split("Example: ")[1].strip()
    assert f"$ {example}\n" in text
    options = {option for one in getattr(command, "params", ()) for option in one.opts if option.startswith("--")}
    assert {option for option in options - EVERYWHERE if option not in text} == set()
    schema = re.search(r"Schema: `([a-z-]+)`", text)
    assert ("--output" in options) == (schema is not None)
    if schema is not None:
        assert f"reconciler/schemas/{schema[1]}.schema.json" in tree.tracked()


def typed(page: str) -> list[str]:
    """Return what a page tells to type after the program's name: in code, in sentences and in blocks of their own."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", tree.text(page), re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^\s*(?:\$ )?access-reconciler ([a-z].*)$", "\n".join(blocks), re.MULTILINE)
    inline = re.findall(r"`access-reconciler ([a-z][^`\n]*)`", tree.text(page))
    return [re.split(r" (?:#|&&|\||>|\\)", one)[0].strip() for one in (*lines, *inline)]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_tells_to_type_exists(page: str) -> None:
    """Every command of every page is one of ours, and so is each of its options."""
    known = {name.removeprefix("access-reconciler "): command for name, command in tree.all_commands()}
    for line in typed(page):
        words = [word.partition("|")[0] for word in line.split()]
        name = next((name for name in (" ".join(words[:2]), words[0]) if name in known), None)
        assert name is not None, line
        options = {option for one in getattr(known[name], "params", ()) for option in one.opts} | {"--help"}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} - options == set(), line


def test_every_code_that_withholds_is_explained() -> None:
    """The table of withheld findings holds the planner's codes, each once."""
    told = coded(section("docs/cycle.md", "## What is never planned: withheld findings"))
    assert sorted(code for code, _ in told) == sorted(tree.withheld_codes())


def test_every_code_that_holds_is_explained() -> None:
    """The table of holds says of each code whether an approval lifts it."""
    told = coded(section("docs/cycle.md", "## What holds a plan"))
    assert [code for code, _ in told] == [code.value for code in HoldCode]
    assert {code: rest.split("|")[1].strip() for code, rest in told} == {
        code.value: "yes" if code.releasable else "no" for code in HoldCode
    }


@pytest.mark.parametrize(
    ("head", "values"),
    [
        ("mode", Mode),
        ("effect", Effect),
        ("outcome of a cycle", CycleOutcome),
        ("outcome of an action", OutcomeState),
        ("reading again showed", VerificationState),
        ("verdict on a leaver", LeaverState),
        ("state of an artefact kind", ReadState),
    ],
)
def test_every_value_is_explained(head: str, values: type[StrEnum]) -> None:
    """Each table of docs/cycle.md holds the values of the source, in their order, none without a meaning."""
    told = tables("docs/cycle.md")[head]
    assert list(told) == [one.value for one in values]
    assert all(meaning.strip(" |") for meaning in told.values())


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    """Every relative link of a page names a file or folder of the repository."""
    folder = PurePosixPath(page).parent
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", tree.text(page))
    targets = {link: tree.ROOT / folder / link for link in links if "://" not in link}
    assert [link for link, target in targets.items() if not target.exists()] == []


def test_every_page_can_be_found() -> None:
    """docs/README.md links every page, and the list of decisions every decision."""
    index = tree.text("docs/README.md")
    pages = [name.removeprefix("docs/") for name in PAGES if name.startswith("docs/") and name != "docs/README.md"]
    decisions = [name for name in pages if name.startswith("decisions/0")]
    assert [name for name in pages if name not in decisions and f"({name})" not in index] == []
    listed = tree.text("docs/decisions/README.md")
    assert [name for name in decisions if f"({name.removeprefix('decisions/')})" not in listed] == []


def test_the_rooms_exist() -> None:
    """Every path that docs/architecture.md names is there."""
    named = re.findall(r"`((?:inventory|reconciler|policies|tests)/[\w./]*)`", tree.text("docs/architecture.md"))
    assert named
    assert [path for path in named if not (tree.ROOT / path).exists()] == []
