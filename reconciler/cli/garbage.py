"""How often Python looks for garbage while a picture of a company is in memory."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

OBJECTS_BETWEEN_COLLECTIONS: Final = (50_000, 10, 10)
"""A picture of a company is hundreds of thousands of objects without a cycle among them: Python's default of 700 goes
through the young ones again and again while it is built, which took a sixth of a pass.
"""


@contextmanager
def no_collections() -> Iterator[None]:
    """Let Python not look for garbage until the end: what a comparison makes has no cycles, and is all needed.

    With 100,000 access items the looking alone took a twentieth of the time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
