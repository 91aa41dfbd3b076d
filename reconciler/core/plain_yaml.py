"""Whether a YAML text is plain enough to be read: no aliases, and bounded in depth, length and number of its parts.

A few bytes of aliases expand to gigabytes, and a few kilobytes of brackets overflow the stack of the C reader, which
ends the process. Looked at event by event, a text does neither.
"""

from typing import Final

import yaml

MOST_DEPTH: Final = 50
"""The deepest file of ours has six levels."""
MOST_SCALAR: Final = 64 * 1024
"""Characters of one value."""
MOST_EVENTS: Final = 100_000
"""Values, keys, and the beginnings and ends of lists and mappings; ten thousand waivers have fewer."""


def check_plain(text: str | bytes) -> None:
    """Raise `yaml.MarkedYAMLError` with the place where a text is not YAML, or not plain."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.CBaseLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        problem = _problem(event, depth, number)
        if problem:
            raise yaml.MarkedYAMLError(
                problem=problem,
                problem_mark=event.start_mark,  # type: ignore[arg-type]  # the C reader's marks have the same fields
            )


def _problem(event: yaml.Event, depth: int, number: int) -> str:
    if isinstance(event, yaml.AliasEvent):
        return "aliases are not allowed: write the value out"
    if depth > MOST_DEPTH:
        return f"it is nested more than {MOST_DEPTH} levels deep"
    if isinstance(event, yaml.ScalarEvent) and len(event.value) > MOST_SCALAR:
        return f"a value has more than {MOST_SCALAR} characters"
    return f"it has more than {MOST_EVENTS} parts" if number > MOST_EVENTS else ""
