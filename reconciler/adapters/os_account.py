"""Which account of this machine a command is run for, as the kernel knows it.

A name that is typed proves nothing, and under `sudo` the process has the account of the daemon. Linux keeps the account
of the login beside it: `pam_loginuid` sets it once, it stays the same through `sudo` and `su`, and an ordinary process
cannot change it (proc(5), `/proc/[pid]/loginuid`; audit(8)). Containers and services have none: there the account of
the process is all that is known.
"""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOGIN_FILE: Final = Path("/proc/self/loginuid")
_NO_LOGIN: Final = 2**32 - 1
"""What the kernel shows for a process that no login stands behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user id of this machine, and the name that it has here."""

    uid: int
    login: str
    """Empty for a user id without an entry in the account database."""


def acting_account(login_file: Path = LOGIN_FILE) -> Account:
    """Return the account of the login that this process comes from; without one, the account of the process."""
    try:
        uid = int(login_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        uid = _NO_LOGIN  # no such file outside Linux, and none that can be read in some containers
    if uid == _NO_LOGIN:
        uid = os.getuid()
    try:
        return Account(uid=uid, login=pwd.getpwuid(uid).pw_name)
    except KeyError:
        return Account(uid=uid, login="")
