"""Negations over a worker who may not be there.

Not every unit has a worker, and not every id that one names is in the roster. `not` of a comparison is then true, so a
rule meant for some workers would be about every principal of nobody; of a call or of `in` the engines differ.
"""

from collections.abc import Iterator, Sequence

from reconciler.policies.problems import Problem
from reconciler.policies.syntax import Node, nodes, place, references
from reconciler.policies.world_fields import View


def unsaid(seen: Sequence[View]) -> Iterator[Problem]:
    """Yield each `not` that asks about a worker of whom the rule says nowhere else that there is one."""
    for view in seen:
        negations = [node for node in nodes(view.rule) if node.get("negated")]
        inside = {id(node) for negation in negations for _, node in references(negation)}
        said = {view.worker(node) for _, node in references(view.rule) if id(node) not in inside}
        for negation in negations:
            asked = {view.worker(node) for _, node in references(negation)} - {(), *said}
            yield from (_problem(view, negation, name) for name in sorted(asked))


def _problem(view: View, negation: Node, name: tuple[str, ...]) -> Problem:
    line, column = place(negation)
    worker = ".".join(name).replace(".[", "[")
    return Problem(
        path=view.module.path,
        line=line,
        column=column,
        code="unknown_value",
        message=f"asks `not` about {worker}, who need not be there: the rule would be about principals of nobody",
        advice=f"bind it first, outside the `not`: somebody := {worker}",
    )
