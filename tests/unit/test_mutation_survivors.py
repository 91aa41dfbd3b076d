"""What `make mutation` calls a survivor, and which of them it lets pass."""

import pytest

from tests.mutation.survivors import Survivor, change_of, judge, place_of, read_explained

DIFF = """--- a/core/guard.py
+++ b/core/guard.py
@@ -10,3 +10,3 @@
 def f():
-    return 1
+    return 2
"""


def test_a_survivor_is_known_by_its_function_and_its_change_wherever_the_lines_are() -> None:
    """Line numbers, indentation and mutmut's counting do not matter."""
    moved = DIFF.replace("@@ -10,3 +10,3 @@", "@@ -90,3 +90,3 @@").replace("    return", "        return")
    assert change_of(DIFF) == change_of(moved) == "- return 1\n+ return 2"
    assert place_of("reconciler.core.guard.x_guard__mutmut_14") == "reconciler.core.guard.guard"
    assert place_of("reconciler.core.guard.x__lifts__mutmut_2") == "reconciler.core.guard._lifts"
    method = "reconciler.principal_walk.xǁPrincipalWalkǁ_act__mutmut_3"
    assert place_of(method) == "reconciler.principal_walk.PrincipalWalk._act"


def test_only_an_explained_survivor_passes_and_an_outdated_explanation_is_told() -> None:
    """What nobody explained fails the run, and so does an explanation of what no longer survives."""
    explained = read_explained('[[mutant]]\nplace = "m.f"\nchange = """\n- a\n+ b\n"""\nreason = "the same"\n')
    known = Survivor("m.f", "- a\n+ b")
    assert judge([known], explained) == ([], [])
    assert judge([known, Survivor("m.f", "- a\n+ c")], explained) == ([Survivor("m.f", "- a\n+ c")], [])
    assert judge([], explained) == ([], [known])


def test_an_explanation_needs_a_reason() -> None:
    """An empty reason is refused."""
    with pytest.raises(ValueError, match="without a reason"):
        read_explained('[[mutant]]\nplace = "m.f"\nchange = "x"\nreason = " "\n')
