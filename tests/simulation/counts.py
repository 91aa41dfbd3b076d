"""How much was tried in this run, for the summary at its end; a module of its own, so that nothing else is loaded."""

from collections import Counter

COUNTS: Counter[str] = Counter()
"""What was run, by what it is called in the summary."""
