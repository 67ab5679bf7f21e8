"""Open files: as many as the system allows, since each connection is one."""

import resource

import structlog

MARGIN = 200
"""Files beside connections of callers and to the database: kie.ai, receivers, logs, libraries."""

log = structlog.get_logger(__name__)


def raise_limit(needed: int) -> None:
    """Raise the soft limit to the hard one; warn where fewer than `needed` can be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # some systems call it unlimited and have a bound
            hard = soft
    if hard != resource.RLIM_INFINITY and hard < needed:
        log.warning("open_files.few", limit=hard, needed=needed)
