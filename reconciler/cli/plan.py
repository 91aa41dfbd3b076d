"""`access-reconciler plan`: what a cycle would do, without doing it."""

from reconciler.cli.cycle import AtOption, QuietOption, cycle
from reconciler.cli.exits import DEFAULT_CONFIG, ConfigOption, Output, OutputOption
from reconciler.core.model import Mode


def plan(
    config: ConfigOption = DEFAULT_CONFIG,
    at: AtOption = "",
    output: OutputOption = Output.TABLE,
    quiet: QuietOption = False,  # noqa: FBT002 - a command-line flag
) -> None:
    """Show what would be taken away from whom, by which rule, and what the guard says. Nothing is changed.

    A plan is a cycle that observes: it is attested, and a policy revision, version or provider that is new is known
    afterwards, unless --at asks for another instant. Exit codes: 0 nothing to do; 2 the plan has actions or would be
    held; 1 error.

    Example: access-reconciler plan --at 2026-12-01T00:00:00Z --output json
    """
    cycle(config=config, mode=Mode.OBSERVE, at=at, output=output, quiet=quiet)
