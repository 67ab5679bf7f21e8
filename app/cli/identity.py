"""Who runs a command, as the audit names them."""

import getpass
import os

from app.domain.audit import Actor, Operator


def operator() -> Operator:
    """Return the user of the operating system, by number where it has no name."""
    try:
        who = getpass.getuser()
    except (KeyError, OSError):
        who = f"uid {os.getuid()}"
    return Operator(Actor.COMMAND_LINE, who)
