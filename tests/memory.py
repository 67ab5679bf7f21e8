"""This process's memory, for tests of what is bounded."""

from pathlib import Path


def _figure(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def in_use() -> int:
    """Return the bytes in use, and begin their `peak` anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _figure("VmRSS")


def peak() -> int:
    """Return the most bytes in use since `in_use` was asked."""
    return _figure("VmHWM")
