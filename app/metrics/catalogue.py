"""Every metric, as data: the counters are made from it, and so is the page about them."""

from app.domain.admission import BRAKES, PAUSES, HoldReason
from app.domain.delivery import DisableReason
from app.domain.evidence import Verdict
from app.domain.keeping import Keep
from app.domain.replicas import SHARED_SETTINGS
from app.domain.report import Progress
from app.domain.submission import Fault
from app.domain.task import DEADLINES, FINAL, Change, FailClass, Source, State
from app.metrics import files, keeping, requests, spend
from app.metrics.metric import Kind, Metric

PREFIX = "kie_gateway_"

WORK = ("submit", "poll", "deliver", "archive", "probe", "sweep", "number")
"""What may be overdue."""
LOOPS = (*WORK, "balance", "retain")
HOLDS = (*BRAKES, *PAUSES)
"""What keeps everything in the queue."""
PAIR_HOLDS = tuple(reason for reason in PAUSES if reason is not HoldReason.KIE_ACCOUNT)
"""What keeps one client's tasks of one model there."""

CALL_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
"""Seconds: kie.ai answers in tenths, and is given up after GATEWAY_KIE_TIMEOUT."""

LAG_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 300, 3600, 21600, 86400, 270000)
"""Seconds: from a delivery at once to the last attempt of the usual schedule."""
LIFE_BUCKETS = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 86400)
"""Seconds: from a quick picture to an expired task that is settled a day later."""

SUBMISSIONS = Metric(
    name="kie_gateway_submissions_total",
    kind=Kind.COUNTER,
    labels={
        "outcome": ("accepted", *(f"refused_{fault}" for fault in Fault), "unsent", "unknown"),
    },
    meaning="Creates by how they ended: accepted, refused and by whose fault, proved unsent, "
    "or unknown (the task is `unconfirmed`).",
    alert="`refused_account`: key or credits; a rising share of `unknown`",
)
CREATE_DURATION = Metric(
    name="kie_gateway_create_duration_seconds",
    kind=Kind.HISTOGRAM,
    buckets=CALL_BUCKETS,
    meaning="How long kie.ai took to answer a create, or we to give it up.",
    alert="p95 near GATEWAY_KIE_TIMEOUT",
)
CALLBACKS = Metric(
    name="kie_gateway_callbacks_total",
    kind=Kind.COUNTER,
    labels={"verdict": tuple(Verdict)},
    meaning="Callbacks that were received, by verdict.",
    alert="`unverified` rising: GATEWAY_KIE_WEBHOOK_HMAC_KEYS is not kie.ai's; `unreadable`",
)
CALLBACKS_NOT_KEPT = Metric(
    name="kie_gateway_callbacks_not_kept_total",
    kind=Kind.COUNTER,
    labels={"reason": (Keep.REPEATED, Keep.COUNTED, Keep.HEAD, Keep.ERASED)},
    meaning="Callbacks that were not kept whole in a row of their own: `repeated`, the same is "
    "kept, and counts on; `counted`, the task has as many as are kept; `head`, it has as many "
    "bytes; `erased`, it was erased. What changes a task is always kept.",
    alert="over 50 in 15 minutes: somebody knows a callback URL and floods it",
)
CALLBACKS_REJECTED = Metric(
    name="kie_gateway_callbacks_rejected_total",
    kind=Kind.COUNTER,
    meaning="Callbacks whose URL has a wrong token: answered 404, nothing kept.",
    alert="a steady rate: a probe, or a secret that was retired too early",
)
QUERIES = Metric(
    name="kie_gateway_queries_total",
    kind=Kind.COUNTER,
    labels={"answer": (*Progress, "not_visible", "unanswered", "account")},
    meaning="Queries sent to kie.ai, by answer: the task's progress, that it does not know the id, "
    "no usable answer, or that it refused our key or credits.",
    alert="`account`; a rising share of `unanswered`",
)
QUERY_DURATION = Metric(
    name="kie_gateway_query_duration_seconds",
    kind=Kind.HISTOGRAM,
    buckets=CALL_BUCKETS,
    meaning="How long kie.ai took to answer a query, or we to give it up.",
)
TASK_DURATION = Metric(
    name="kie_gateway_task_duration_seconds",
    kind=Kind.HISTOGRAM,
    labels={
        "settled_by": (*Source, "create", "gateway"),
        "state": tuple(state for state in State if state in FINAL - {State.CANCELED}),
    },
    buckets=LIFE_BUCKETS,
    meaning="From a task's creation to its final state; `create`: kie.ai refused it for good, "
    "`gateway`: a bound of ours passed. An expired task that is settled later counts again.",
    alert='`settled_by="query"` overtaking `callback`: callbacks do not arrive',
)
SWEPT = Metric(
    name="kie_gateway_swept_tasks_total",
    kind=Kind.COUNTER,
    labels={"state": (State.UNCONFIRMED, *dict.fromkeys(end.state for end in DEADLINES.values()))},
    meaning="Tasks that the sweep moved, by their new state: whose process died, or whose bound "
    "passed.",
    alert="`unconfirmed`: a process died with a create in flight",
)
PAID_TWICE = Metric(
    name="kie_gateway_paid_twice_total",
    kind=Kind.COUNTER,
    meaning="Tasks for which kie.ai accepted a create although it has another one.",
    alert="any increase",
)
OUTCOMES_DROPPED = Metric(
    name="kie_gateway_outcomes_dropped_total",
    kind=Kind.COUNTER,
    meaning="Creates whose outcome could not be recorded in ten minutes of trying.",
    alert="any increase: the log's outcome.dropped has kie.ai's id, for tasks bind",
)
DISAGREEMENTS = Metric(
    name="kie_gateway_disagreements_total",
    kind=Kind.COUNTER,
    labels={"source": tuple(Source)},
    meaning="Statements of kie.ai that contradict themselves, the task's id, or its final state.",
    alert="any increase: look at the task's callbacks",
)
FAILURES = Metric(
    name="kie_gateway_failures_total",
    kind=Kind.COUNTER,
    labels={"fail_class": tuple(FailClass)},
    meaning="Tasks that kie.ai refused or let fail, by the kind of trouble.",
    alert="`account` or `provider` rises",
)
AMENDMENTS = Metric(
    name="kie_gateway_amendments_total",
    kind=Kind.COUNTER,
    labels={"kind": (Change.FILLED, Change.CORRECTED)},
    meaning="Ends that later evidence filled, or that kie.ai's record corrected.",
    alert="`corrected` rises: somebody forges callbacks",
)
DELIVERY_ATTEMPTS = Metric(
    name="kie_gateway_delivery_attempts_total",
    kind=Kind.COUNTER,
    labels={"result": ("delivered", "refused", "gone", "unanswered", "impossible")},
    meaning="Webhooks sent to callers by their answer: 2xx, another status, 410, or none; "
    "`impossible`: not sent, for there is nowhere to send it.",
    alert="a rising share of `unanswered`",
)
DELIVERY_LAG = Metric(
    name="kie_gateway_delivery_lag_seconds",
    kind=Kind.HISTOGRAM,
    labels={"until": ("first_attempt", "delivered")},
    buckets=LAG_BUCKETS,
    meaning="From an event to the end of its first attempt, and of the one that succeeded.",
    alert='`until="first_attempt"` beyond 10 s: no process delivers, or it cannot keep up',
)
DELIVERIES_EXHAUSTED = Metric(
    name="kie_gateway_deliveries_exhausted_total",
    kind=Kind.COUNTER,
    meaning="Deliveries given up after the last attempt of GATEWAY_DELIVERY_SCHEDULE.",
    alert="any increase: a caller was not notified",
)
DELIVERIES_BRIEF = Metric(
    name="kie_gateway_deliveries_brief_total",
    kind=Kind.COUNTER,
    meaning="Deliveries that name no more than the task and its state: the task could not be "
    "written whole, which is a defect of the gateway's or of the row.",
    alert="any increase; the log's `delivery.unrenderable` names the task: report it",
)
DELIVERIES_UNDELIVERABLE = Metric(
    name="kie_gateway_deliveries_undeliverable_total",
    kind=Kind.COUNTER,
    meaning="Deliveries of kie.ai's API that can never be made: no URL, a forbidden address or "
    "host, a name that does not exist.",
    alert="any increase after a change of a client's hosts or of the network",
)
URLS_DISABLED = Metric(
    name="kie_gateway_urls_disabled_total",
    kind=Kind.COUNTER,
    labels={"reason": tuple(DisableReason)},
    meaning="Clients' URLs that are not called any more: they answered 410 (`gone`), or failed for "
    "five days (`failing`).",
    alert="any increase: the audit and the log's `delivery.url_disabled` name client and host; the "
    "client puts it back by `POST /v1/deliveries/enable`",
)
TROUBLED_URLS = Metric(
    name="kie_gateway_delivery_urls",
    kind=Kind.GAUGE,
    from_database=True,
    labels={"state": ("failing", "slow")},
    meaning="Clients' URLs that are called by few attempts at once: after three without an answer "
    "(`failing`), or because attempts take more than 5 s in the mean (`slow`).",
    alert="growing: the log's `delivery.slow` and `delivery.held` name client and host",
)
TASKS = Metric(
    name="kie_gateway_tasks",
    kind=Kind.GAUGE,
    from_database=True,
    labels={"state": tuple(state for state in State if state not in FINAL)},
    meaning="Open tasks in the database, the same from every process: aggregate by `max`. Tasks "
    "in a final state are not counted: that would read them all; see the duration's `_count`. Of a "
    "client with over 500 queued ones they are as of the last count, which is made each second, "
    "and what came since.",
    alert="`unconfirmed` growing",
)
OLDEST_QUEUED = Metric(
    name="kie_gateway_oldest_queued_seconds",
    kind=Kind.GAUGE,
    from_database=True,
    meaning="Age of the oldest task that is not sent yet; 0: the queue is empty.",
    alert="near GATEWAY_SUBMIT_WITHIN, when tasks fail by `submit_deadline`",
)
OVERDUE = Metric(
    name="kie_gateway_overdue_seconds",
    kind=Kind.GAUGE,
    from_database=True,
    labels={"work": WORK},
    meaning="How long the work that waits longest has been due, whichever process should do it. "
    "`submit`: for how long the first task of a queue has waited although a slot was free, so 0 in "
    "a pause, in a "
    "hold, and where the account's limits are used up; `poll`: a query that is due; `deliver`: a "
    "delivery to a host that nobody calls just now, so 0 while its receiver is slow or in trouble; "
    "`probe`: the credit call of an account that is held; `sweep`: a bound that passed; "
    "`number`: an event that has no place in the feed yet.",
    alert="above 2 minutes: no process runs this loop, or it cannot keep up",
)
FEED_LAG = Metric(
    name="kie_gateway_feed_lag_seconds",
    kind=Kind.GAUGE,
    from_database=True,
    meaning="Age of the oldest event that has no place in the feed (`GET /v1/events`) yet; 0: all "
    "have. The process that is elected to number them takes some hundredths of a second.",
    alert="above 30 s: clients that follow the feed hear of nothing",
)
ADMISSION_HELD = Metric(
    name="kie_gateway_admission_held",
    kind=Kind.GAUGE,
    from_database=True,
    labels={"reason": HOLDS},
    meaning="1: nothing is sent to kie.ai for this reason, but for a probe now and then. The pause "
    "of a single client does not show here.",
    alert="`database_restored`: commits are lost, and a person has to look; `kie_account` for 5 "
    "minutes: key or credits; `admission_paused` that was forgotten",
)
HELD_PAIRS = Metric(
    name="kie_gateway_held_pairs",
    kind=Kind.GAUGE,
    from_database=True,
    labels={"reason": PAIR_HOLDS},
    meaning="Pairs of a client and a model to which nothing is sent for this reason, but for a "
    "probe now and then; all others go on. `kie-gateway admission status` lists them.",
    alert="above 0 for half an hour: a model in maintenance, or a client that sends what kie.ai "
    "does not understand",
)
CREATE_SLOTS_FREE = Metric(
    name="kie_gateway_create_slots_free",
    kind=Kind.GAUGE,
    from_database=True,
    meaning="Creates that the account may send at once (of GATEWAY_KIE_CREATES_PER_10S, less what "
    "others leave of it).",
)
RUNNING_SEATS_FREE = Metric(
    name="kie_gateway_running_seats_free",
    kind=Kind.GAUGE,
    from_database=True,
    meaning="Tasks that may run beside those that run now (GATEWAY_KIE_MAX_RUNNING).",
    alert='0 for long while `kie_gateway_tasks{state="queued"}` grows: the limit is too low',
)
TASKS_SET_ASIDE = Metric(
    name="kie_gateway_tasks_set_aside",
    kind=Kind.GAUGE,
    from_database=True,
    meaning="Tasks that are no longer polled, after several defects of the gateway's own in a row; "
    "`kie-gateway stuck` lists them.",
    alert="above 0",
)
DATABASE_UP = Metric(
    name="kie_gateway_database_up",
    kind=Kind.GAUGE,
    meaning="1: PostgreSQL answered this process. 0: it did not, and the gauges that are read from "
    "it (tasks, oldest queued, overdue, admission) are absent.",
    alert="0",
)
LOOP_SILENT = Metric(
    name="kie_gateway_loop_silent_seconds",
    kind=Kind.GAUGE,
    labels={"loop": LOOPS},
    meaning="Seconds for which a loop of this process has not come round, beyond the rest that it "
    "meant to take; absent where none runs.",
)
LOOP_STUCK = Metric(
    name="kie_gateway_loop_stuck",
    kind=Kind.GAUGE,
    labels={"loop": LOOPS},
    meaning="1: the loop has not come round for 60 s; `/readyz` answers 503.",
    alert="1",
)
CLOCK_AHEAD = Metric(
    name="kie_gateway_clock_ahead_seconds",
    kind=Kind.GAUGE,
    meaning="By how much this process's clock was ahead of PostgreSQL's at the last heartbeat.",
    alert="beyond 5 s either way: webhooks carry a wrong timestamp, and receivers refuse them",
)
SETTINGS_DIFFER = Metric(
    name="kie_gateway_settings_differ",
    kind=Kind.GAUGE,
    labels={"setting": SHARED_SETTINGS},
    meaning="1: processes on this database have this setting differently, and must not.",
    alert="above 0 for 10 minutes: a rollout that did not reach all",
)
POOL_IN_USE = Metric(
    name="kie_gateway_pool_checked_out",
    kind=Kind.GAUGE,
    meaning="Database connections that are in use in this process.",
    alert="at the size for minutes",
)
POOL_SIZE = Metric(
    name="kie_gateway_pool_size",
    kind=Kind.GAUGE,
    meaning="The most connections that this process holds (GATEWAY_DATABASE_POOL_SIZE).",
)
UNDER_WAY = Metric(
    name="kie_gateway_requests_under_way",
    kind=Kind.GAUGE,
    meaning="Requests that this process is working on (GATEWAY_MAX_CONCURRENT_REQUESTS).",
)
BYTES_UNDER_WAY = Metric(
    name="kie_gateway_bytes_under_way",
    kind=Kind.GAUGE,
    meaning="Bytes of their bodies and large answers (GATEWAY_MAX_BYTES_IN_FLIGHT).",
)
OVERLOADED = Metric(
    name="kie_gateway_requests_overloaded_total",
    kind=Kind.COUNTER,
    meaning="Requests refused (429 `overloaded`) because their client had most under way.",
)
SPANS = Metric(
    name="kie_gateway_spans_total",
    kind=Kind.COUNTER,
    labels={"outcome": ("exported", "failed", "dropped")},
    meaning="Spans of traces: taken by the collector; refused by it, or not taken in time; dropped "
    "because too many waited. 0 without tracing.",
    alert="`failed`, `dropped`: the collector is away, or slow",
)
BUILD = Metric(
    name="kie_gateway_build_info",
    kind=Kind.GAUGE,
    labels={"version": "the package's version"},
    meaning="Always 1.",
    alert="more than one version for long: a rollout that hangs",
)

CATALOGUE: tuple[Metric, ...] = (
    *requests.METRICS,
    *spend.METRICS,
    SUBMISSIONS,
    CREATE_DURATION,
    CALLBACKS,
    CALLBACKS_NOT_KEPT,
    CALLBACKS_REJECTED,
    QUERIES,
    QUERY_DURATION,
    TASK_DURATION,
    SWEPT,
    PAID_TWICE,
    OUTCOMES_DROPPED,
    FAILURES,
    AMENDMENTS,
    DISAGREEMENTS,
    DELIVERY_ATTEMPTS,
    DELIVERY_LAG,
    DELIVERIES_EXHAUSTED,
    DELIVERIES_BRIEF,
    DELIVERIES_UNDELIVERABLE,
    TROUBLED_URLS,
    URLS_DISABLED,
    TASKS,
    OLDEST_QUEUED,
    OVERDUE,
    FEED_LAG,
    ADMISSION_HELD,
    HELD_PAIRS,
    CREATE_SLOTS_FREE,
    RUNNING_SEATS_FREE,
    TASKS_SET_ASIDE,
    DATABASE_UP,
    LOOP_SILENT,
    LOOP_STUCK,
    CLOCK_AHEAD,
    SETTINGS_DIFFER,
    POOL_IN_USE,
    POOL_SIZE,
    UNDER_WAY,
    BYTES_UNDER_WAY,
    OVERLOADED,
    *keeping.METRICS,
    *files.METRICS,
    SPANS,
    BUILD,
)
