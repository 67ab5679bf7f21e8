"""How long to wait before trying again."""


def backoff(tries: int, *, first: float, ceiling: float, share: float) -> float:
    """Seconds before try number `tries` + 1: doubling from `first`, at most `ceiling`.

    `share` in [0, 1) is the caller's random draw; it adds up to half of the wait again, so that
    many waiters do not come back at once.
    """
    wait = min(ceiling, first * 2.0 ** min(max(tries - 1, 0), 32))
    return wait * (1 + share / 2)
