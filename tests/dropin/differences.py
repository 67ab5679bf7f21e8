"""What differs, on purpose: all that may be told apart between kie.ai and the gateway, and why.

A difference that is not here is a mistake. docs/migrating.md tells of each.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.dropin.compare import NOTHING, Diff, JsonText


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One row of the table."""

    what: str
    why: str
    page: str
    """Words by which docs/migrating.md tells of it."""
    where: Sequence[str]
    """Patterns of `SCENARIO: PATH`."""
    seen: str
    """A scenario in which it shows: a difference that is gone goes from the table too."""
    through: Sequence[object] = ()
    """What the gateway may say there, patterns of texts too; empty: anything."""

    def covers(self, scenario: str, diff: Diff) -> bool:
        place = f"{scenario}: {diff.path}"
        said = not self.through or any(_fits(diff.through, each) for each in self.through)
        return said and any(fnmatchcase(place, pattern) for pattern in self.where)


def _fits(value: object, allowed: object) -> bool:
    if isinstance(value, str) and isinstance(allowed, str):
        return fnmatchcase(value, allowed)
    return value == allowed


DIFFERENCES: Sequence[Difference] = (
    Difference(
        what="A create is taken where kie.ai would refuse it for now: 401, 402, 405, 429, 430, 433,"
        " 455, and words about credits or maintenance under any code do not come through. The task"
        " waits, `waiting`, and is sent again.",
        why="That is what the gateway is for: callers see neither kie.ai's limits nor the state of"
        " its account.",
        where=("held, *.body.code", "held, *.body.msg", "held, *.body.data"),
        through=(200, "success", {"taskId": "<id 1>", "recordId": "<id 1>"}),
        page="accepted, and queued: `waiting`",
        seen="held, create-refused-402",
    ),
    Difference(
        what="A create is taken where kie.ai's answer does not tell whether it took it: 501, and a"
        " 500 of unknown text. The task is `waiting` until it is known.",
        why="The create may have been paid; an error would have callers send it again.",
        where=("unclear, *.body.code", "unclear, *.body.msg", "unclear, *.body.data"),
        through=(200, "success", {"taskId": "<id 1>", "recordId": "<id 1>"}),
        page="the answer to a create gets lost on the way",
        seen="unclear, create-refused-501",
    ),
    Difference(
        what="A key sees the tasks and results of its own client alone; others are unknown, 422.",
        why="kie.ai has one account for all of your services; the gateway keeps them apart.",
        where=("another service: other record.*", "another service: other download.*"),
        through=(422, "recordInfo is null", "url is wrong", None),
        page="`recordInfo is null`",
        seen="another service",
    ),
    Difference(
        what="`/api/v1/chat/credit` answers what is left of the client's own budget, or 422 where"
        " it has none, unless it may see the account's balance: `kie-gateway clients set NAME"
        " --sees-balance`.",
        why="The balance is the account's, not the service's.",
        where=("another service: other credit.*",),
        through=(422, "this client may not see the account's credits*", None),
        page="clients set NAME --sees-balance",
        seen="another service",
    ),
    Difference(
        what="A create that is refused is told to its `callBackUrl` as well, as a failed task.",
        why="Whoever lost the answer hears of it; `X-Kie-Gateway-Task` names the task in both.",
        where=("refused, told: callbacks",),
        page="your `callBackUrl` is notified (501)",
        seen="refused, told",
    ),
    Difference(
        what="`msg` says more: after kie.ai's words about a key that is wrong, a body that cannot"
        " be read and a path that is not there.",
        why="It names the gateway's keys, and the place in the body.",
        where=("keys: *.body.msg", "bodies: *.body.msg", "download: *.body.msg", "detours: *.msg"),
        through=(
            "You do not have access permissions: *",
            "The request body is not readable JSON: *",
            "The request body must be a JSON object",
            "There is nothing at this path*",
            "This path does not have this method*",
        ),
        page="`msg` may say more than kie.ai's",
        seen="keys",
    ),
    Difference(
        what="A path called by another method is 405 by its HTTP status, with `Allow`.",
        why="HTTP's own word for it; the envelope's code is 404, for kie.ai's 405 means too often.",
        where=("detours: * by *.status", "detours: * by *.headers.allow"),
        through=(405, "GET", "POST"),
        page="another method (with HTTP 404 or 405)",
        seen="detours",
    ),
    Difference(
        what="`creditsConsumed` is absent until it is known.",
        why="kie.ai tells it while the task waits; the gateway hears of it at the end.",
        where=("*: record.body.data.creditsConsumed", "client: Ask once.*creditsConsumed"),
        through=(NOTHING,),
        page="`creditsConsumed` as soon as it is known",
        seen="waiting",
    ),
    Difference(
        what="Records have the form of 2026 throughout: `creditsConsumed`, not `consumeCredits`.",
        why="kie.ai mixes both; one is enough in records, where the newer one was always seen.",
        where=(
            "result-credits-2025: record.body.data.consumeCredits",
            "result-credits-2025: record.body.data.creditsConsumed",
        ),
        through=(NOTHING, 4),
        page="in the form of 2026",
        seen="result-credits-2025",
    ),
    Difference(
        what="Callbacks name the credits by both names, `consumeCredits` and `creditsConsumed`, and"
        " of a success have `failCode` and `failMsg`, null.",
        why="kie.ai has sent callbacks with and without each of them.",
        where=(
            "*: callbacks.0.body.data.creditsConsumed",
            "result-credits-2026: callbacks.0.body.data.consumeCredits",
            "*: callbacks.0.body.data.failCode",
            "*: callbacks.0.body.data.failMsg",
        ),
        through=(4, 0, None),
        page="`consumeCredits`",
        seen="success, told",
    ),
    Difference(
        what="`remainedCredits` is absent.",
        why="The account's balance is nothing that every service should see.",
        where=("*: callbacks.0.body.data.remainedCredits",),
        through=(NOTHING,),
        page="in no record and no callback",
        seen="success, told",
    ),
    Difference(
        what='`resultJson` is a text always, `""` where there is no result.',
        why="kie.ai sends a text, an object, null or nothing; callers need to read one of these.",
        where=("result-json-*: *.body.data.resultJson",),
        through=(JsonText({"resultUrls": ["<URL>"]}), ""),
        page='`resultJson` is text always, `""` where there is no result',
        seen="result-json-object",
    ),
    Difference(
        what="`failCode` is a text always, and that of a failure is not null; nor is `failMsg`.",
        why="kie.ai sends texts, numbers and null; where it is null the envelope tells it.",
        where=(
            "result-fail-code-*.body.data.failCode",
            "failure without a message, told: *.body.data.failMsg",
        ),
        through=("422", "501", "Playground task failed."),
        page="`failCode` and `failMsg` of a failure are text always",
        seen="result-fail-code-null",
    ),
    Difference(
        what="`state` of an end is `success` or `fail` always.",
        why="kie.ai has other words for both, here and there; callers wait for these two.",
        where=(
            "result-word-*: record.body.data.state",
            "result-word-*: callbacks.0.body.data.state",
        ),
        through=("success", "fail"),
        page="`state` of an end is `success` or `fail` always",
        seen="result-word-completed",
    ),
    Difference(
        what="A failure that kie.ai was seen to take back (524) is told after it has stood 150 s:"
        " if it turns before, the success alone is.",
        why="Whoever hears of a failure creates again, and pays for both.",
        where=(
            "result-timeout-then-success: record.body.data.*",
            "result-timeout-then-success: callbacks.0.body.*",
        ),
        through=(
            *("success", 200, "Playground task completed successfully.", 4, 1, None, NOTHING),
            JsonText({"resultUrls": ["<URL>"]}),
        ),
        page="told once it has stood for 150 s",
        seen="result-timeout-then-success",
    ),
    Difference(
        what="Answers have more headers: `X-Request-ID`, `Server-Timing`, `X-Kie-Gateway-Task`.",
        why="The first two find a request in the logs, the third the task in `/v1/tasks`.",
        where=(
            "*.headers.x-request-id",
            "*.headers.server-timing",
            "*.headers.x-kie-gateway-task",
        ),
        page="`X-Request-ID`, `Server-Timing` and `X-Kie-Gateway-Task`",
        seen="success",
    ),
    Difference(
        what="Answers say how many requests are left: `RateLimit-Policy`, `RateLimit`.",
        why="The limits are of a client of the gateway; kie.ai's own are its account's.",
        where=("*.headers.ratelimit-policy", "*.headers.ratelimit"),
        page="`RateLimit-Policy` and `RateLimit`",
        seen="success",
    ),
    Difference(
        what="Answers say to browsers that they are no pages, and not to be kept.",
        why="A browser that is led to an answer must not run, frame, cache or share it.",
        where=(
            "*.headers.cache-control",
            "*.headers.content-security-policy",
            "*.headers.cross-origin-resource-policy",
            "*.headers.referrer-policy",
            "*.headers.x-content-type-options",
            "*.headers.x-frame-options",
        ),
        page="`Cache-Control: no-store` and headers for browsers",
        seen="success",
    ),
    Difference(
        what="Callbacks come from another `User-Agent`, and have `webhook-id`, `webhook-timestamp`"
        " and `webhook-signature` as well, by Standard Webhooks.",
        why="These cover the body, which kie.ai's signature does not.",
        where=(
            "*: callbacks.0.headers.user-agent",
            "*: callbacks.0.headers.webhook-*",
        ),
        through=("kie-gateway/*", "msg_*", "[0-9]*", "v1,*"),
        page="Standard Webhooks headers too",
        seen="success, told",
    ),
)


def unlisted(scenario: str, diffs: Iterable[Diff]) -> Iterator[Diff]:
    """Yield what no row of the table covers."""
    for diff in diffs:
        if not any(row.covers(scenario, diff) for row in DIFFERENCES):
            yield diff


def unseen(scenario: str, diffs: Sequence[Diff]) -> Iterator[Difference]:
    """Yield the rows that say they show in this scenario, and do not."""
    for row in DIFFERENCES:
        if row.seen == scenario and not any(row.covers(scenario, diff) for diff in diffs):
            yield row
