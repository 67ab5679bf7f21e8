"""`python -m tests.processes.several`: commands one after the other, imported once.

Reads a JSON list of argument lists from standard input; writes what each printed and its status.
For commands of which a process of its own would show nothing more: most of its time goes to
imports.
"""

import io
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout

from app.cli import main


def _run(arguments: Sequence[str]) -> dict[str, object]:
    sys.argv[1:] = arguments
    status: object = None
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as ended:
            status = ended.code or 0
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    json.dump([_run(arguments) for arguments in json.load(sys.stdin)], sys.stdout)
