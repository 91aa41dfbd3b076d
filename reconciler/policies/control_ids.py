"""Whether the control that a rule names is written as its framework numbers controls: auditors look it up."""

import re
from typing import Final

_FRAMEWORKS: Final = {
    "SOC2": (r"(CC|A|C|PI|P)\d{1,2}\.\d{1,2}", "SOC2 CC6.2"),
    "ISO 27001": (r"A\.\d{1,2}\.\d{1,2}(\.\d{1,2})?", "ISO 27001 A.5.18"),
    "NIST": (r"[A-Z]{2}-\d{1,2}(\(\d{1,2}\))?", "NIST AC-2(3)"),
    "PCI DSS": (r"\d{1,2}(\.\d{1,2}){1,3}", "PCI DSS 8.2.6"),
    "CIS": (r"\d{1,2}(\.\d{1,2})?", "CIS 5.3"),
    "HIPAA": (r"164\.\d{3}(\([a-z0-9]+\))*", "HIPAA 164.308(a)(3)"),
    "own": (r"\S.*", "own IAM-12"),
}
"""By the name that a control begins with: how the rest is numbered (the framework's own documents), and an example.

The criteria of SOC 2 are those of the AICPA's Trust Services Criteria, those of NIST are of SP 800-53, those of ISO
27001 are of its annex A. `own` is for a list of the operator's.
"""


def unknown_control(control: str) -> str:
    """Return what to write instead of a control whose form no framework knows, or nothing."""
    for name, (form, example) in _FRAMEWORKS.items():
        if control.startswith(f"{name} "):
            fits = re.fullmatch(form, control.removeprefix(f"{name} "))
            return "" if fits else f"write it as in {example!r}"
    known = ", ".join(repr(example) for _, example in _FRAMEWORKS.values())
    return f"begin with the framework, as in {known}"
