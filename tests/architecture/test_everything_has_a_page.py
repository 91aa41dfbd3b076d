"""Each provider, rule and command is documented where a reader looks for it."""

import importlib

import pytest

from inventory.registry import provider_types
from tests.architecture import tree

RULES = tree.rules()
RULE_FACTS = {"code", "severity", "needs", "controls", "remediation"}


def test_there_are_providers_and_rules() -> None:
    """The checks below have something to look at."""
    assert {"aws_iam", "ldap", "scim"} <= set(provider_types())
    assert {"leaver", "orphan", "stale_credential"} <= set(RULES)


def test_every_provider_has_a_page() -> None:
    """`docs/providers/<name>.md` says what a provider reads and takes away, and with which rights."""
    assert [name for name in provider_types() if f"docs/providers/{name}.md" not in tree.tracked()] == []


def test_every_provider_is_under_contract() -> None:
    """The contract suite has a world for each provider, so that none is held to less than the others."""
    worlds = importlib.import_module("tests.contract.worlds").WORLDS
    assert sorted(world().provider_type for world in worlds) == sorted(provider_types())


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_whole(rule: str) -> None:
    """A rule has its module, its tests, its page, and METADATA that the reports are made from."""
    folder = f"policies/access/rules/{rule}"
    files = set(tree.tracked())
    assert {f"{folder}/{rule}.rego", f"{folder}/{rule}_test.rego", f"docs/rules/{rule}.md"} - files == set()
    facts = tree.metadata(tree.text(f"{folder}/{rule}.rego"))
    assert facts.get("title")
    assert facts.get("description")
    assert RULE_FACTS - set(facts.get("custom", {})) == set()
    assert facts["custom"]["needs"] in {"item", "scope"}


def test_every_command_has_help_with_an_example() -> None:
    """`--help` of a command says what it does, shows a line to copy, and explains each option."""
    unhelpful = []
    for name, command in tree.all_commands():
        shown = f"{command.help or ''}\n{command.epilog or ''}"
        if not (command.help or "").strip() or name not in shown:
            unhelpful.append(f"{name}: no example that begins with {name!r}")
        unhelpful += [
            f"{name}: {parameter.opts[0]} is not explained"
            for parameter in command.params
            if parameter.name != "help" and not getattr(parameter, "help", None)
        ]
    assert unhelpful == []


def test_the_promised_commands_are_there() -> None:
    """The command line offers what the front page and the design promise."""
    names = {name.removeprefix("access-reconciler ").split(" ")[0] for name, _ in tree.all_commands()}
    promised = {"init", "doctor", "providers", "plan", "cycle", "approve", "undo", "explain", "attestations", "demo"}
    assert promised - names == set()
