"""The alert rules for Prometheus that `docs/metrics.md` offers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One rule of Prometheus's."""

    name: str
    expr: str
    lasting: str
    """Its `for`."""
    severity: str
    summary: str


ALERTS: tuple[Alert, ...] = (
    Alert(
        name="KieGatewayPaidTwice",
        expr="increase(kie_gateway_paid_twice_total[15m]) > 0",
        lasting="0m",
        severity="critical",
        summary="kie.ai accepted a second create for one task; the log says task.paid_twice",
    ),
    Alert(
        name="KieGatewayOutcomeDropped",
        expr="increase(kie_gateway_outcomes_dropped_total[15m]) > 0",
        lasting="0m",
        severity="critical",
        summary="A create's outcome was given up; bind the id that the log's outcome.dropped has",
    ),
    Alert(
        name="KieGatewayDatabaseAway",
        expr="min by (job) (kie_gateway_database_up) == 0",
        lasting="1m",
        severity="critical",
        summary="a gateway process gets no answer from PostgreSQL",
    ),
    Alert(
        name="KieGatewayNobodyWorks",
        expr="max by (job, work) (kie_gateway_overdue_seconds) > 120",
        lasting="2m",
        severity="critical",
        summary="work is due and nobody does it: is a worker running, and can it keep up?",
    ),
    Alert(
        name="KieGatewayFeedBehind",
        expr="max by (job) (kie_gateway_feed_lag_seconds) > 30",
        lasting="1m",
        severity="critical",
        summary="events wait for their place in GET /v1/events: its readers hear of nothing; is a "
        "worker running?",
    ),
    Alert(
        name="KieGatewayLoopStuck",
        expr="kie_gateway_loop_stuck == 1",
        lasting="1m",
        severity="critical",
        summary="a loop has hung for over a minute; restart its process and keep its log",
    ),
    Alert(
        name="KieGatewayCrowded",
        expr='sum by (job) (increase(kie_gateway_edge_refused_total{reason="crowded"}[5m])) > 100',
        lasting="5m",
        severity="warning",
        summary="connections without a valid key are closed to make room: a flood, or too low a "
        "GATEWAY_MAX_CONNECTIONS",
    ),
    Alert(
        name="KieGatewayDeliveriesExhausted",
        expr="increase(kie_gateway_deliveries_exhausted_total[15m]) > 0",
        lasting="0m",
        severity="warning",
        summary="a caller was not notified within the whole schedule; see GET /v1/deliveries",
    ),
    Alert(
        name="KieGatewayDeliveryBrief",
        expr="increase(kie_gateway_deliveries_brief_total[15m]) > 0",
        lasting="0m",
        severity="warning",
        summary="a task could not be written whole, and its caller heard only of its state; report "
        "the log's delivery.unrenderable",
    ),
    Alert(
        name="KieGatewayCallbacksFlooded",
        expr="sum by (job) (increase(kie_gateway_callbacks_not_kept_total[15m])) > 50",
        lasting="0m",
        severity="warning",
        summary="a callback URL is flooded: somebody else knows it; the log's callback.received "
        "names the task, and docs/operating.md says what to do",
    ),
    Alert(
        name="KieGatewayAccountRefused",
        expr="sum by (job)"
        ' (increase(kie_gateway_submissions_total{outcome="refused_account"}[10m])) + sum by (job)'
        ' (increase(kie_gateway_queries_total{answer="account"}[10m])) > 0',
        lasting="0m",
        severity="critical",
        summary="kie.ai refuses the account's key or credits; everything waits in the queue",
    ),
    Alert(
        name="KieGatewayAccountHeld",
        expr='max by (job) (kie_gateway_admission_held{reason="kie_account"}) == 1',
        lasting="5m",
        severity="critical",
        summary="kie.ai has refused the account for minutes: check its credits and the key; what "
        "waits is sent by itself afterwards",
    ),
    Alert(
        name="KieGatewayDatabaseRestored",
        expr='max by (job) (kie_gateway_admission_held{reason="database_restored"}) == 1',
        lasting="0m",
        severity="critical",
        summary="PostgreSQL has lost commits, or is another one than before: nothing is sent until "
        "a person says so; see kie-gateway tasks review",
    ),
    Alert(
        name="KieGatewayClockDiffers",
        expr="max by (job, instance) (abs(kie_gateway_clock_ahead_seconds)) > 5",
        lasting="1m",
        severity="warning",
        summary="a process's clock is not the database's: receivers refuse webhooks whose "
        "timestamp is five minutes off",
    ),
    Alert(
        name="KieGatewayReplicasDiffer",
        expr="max by (job, setting) (kie_gateway_settings_differ) > 0",
        lasting="10m",
        severity="warning",
        summary="processes on one database have different secrets, limits or keys; see "
        "kie-gateway doctor",
    ),
    Alert(
        name="KieGatewayPairsHeld",
        expr="max by (job, reason) (kie_gateway_held_pairs) > 0",
        lasting="30m",
        severity="warning",
        summary="one client's tasks of one model have not gone through for half an hour: see "
        "kie-gateway admission status",
    ),
    Alert(
        name="KieGatewayUrlDisabled",
        expr="sum by (reason) (increase(kie_gateway_urls_disabled_total[1h])) > 0",
        lasting="0m",
        severity="warning",
        summary="a client's URL is not called any more: it answered 410, or failed for five days; "
        "the audit (GET /v1/admin/audit, url_disabled) names client and host",
    ),
    Alert(
        name="KieGatewayTasksSetAside",
        expr="max by (job) (kie_gateway_tasks_set_aside) > 0",
        lasting="0m",
        severity="warning",
        summary="tasks met a defect of the gateway again and again; see kie-gateway stuck, report "
        "it, and release them once it is fixed",
    ),
    Alert(
        name="KieGatewayRetentionBehind",
        expr="max by (job, kind) (kie_gateway_retention_lag_seconds) > 86400",
        lasting="1h",
        severity="warning",
        summary="what should be deleted by age is still there a day later: is a worker running, "
        "and does its log have loop.broken for `retain`?",
    ),
    Alert(
        name="KieGatewayKeysRefused",
        expr="sum by (job, surface, reason) (increase(kie_gateway_auth_refused_total[10m])) > 100",
        lasting="0m",
        severity="warning",
        summary="many keys were refused: somebody guesses, or a caller goes on with a key that has "
        "ended; see the log's auth.refused",
    ),
    Alert(
        name="KieGatewayBudgetSpent",
        expr="sum by (job)"
        ' (increase(kie_gateway_budget_refused_total{reason="exceeded"}[10m])) > 0',
        lasting="0m",
        severity="warning",
        summary="a hard budget refuses a client's creates until it renews; the log's "
        "budget.refused names the client, kie-gateway budgets list shows how it stands",
    ),
    Alert(
        name="KieGatewayBudgetThreshold",
        expr="sum by (job, period) (increase(kie_gateway_budget_thresholds_total[15m])) > 0",
        lasting="0m",
        severity="info",
        summary="a client has spent a part of its budget that was to be announced; the log's "
        "budget.threshold names it",
    ),
    Alert(
        name="KieGatewayBudgetOvershoot",
        expr="sum by (job) (increase(kie_gateway_budget_overshoot_total[15m])) > 0",
        lasting="0m",
        severity="warning",
        summary="tasks cost more than was reserved for them: a model's price rose, and a budget "
        "may be exceeded by what was under way",
    ),
    Alert(
        name="KieGatewayReserveWrong",
        expr="sum by (job) (increase(kie_gateway_reserves_fixed_total[1h])) > 0",
        lasting="0m",
        severity="warning",
        summary="credits reserved for a budget were not those of its tasks, and were put right: a "
        "defect; report the log's budget.reserve_fixed",
    ),
)
