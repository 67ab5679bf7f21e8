"""`python -m app.cli.processes.child COMMAND …`: a command that ends when its parent does.

Its standard input is a pipe that the parent holds open. However the parent ends, SIGKILL included,
the kernel closes the pipe; the command then stops as on SIGTERM, in order.
"""

import os
import signal
import sys
import threading

from app.cli import main


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=_end_with_parent, daemon=True).start()
main()
