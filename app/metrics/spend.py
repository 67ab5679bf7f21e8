"""The metrics of budgets. None names a client: the log does."""

from app.domain.spend import Period
from app.metrics.metric import Kind, Metric

BUDGET_REFUSED = Metric(
    name="kie_gateway_budget_refused_total",
    kind=Kind.COUNTER,
    labels={"reason": ("exceeded", "cost_unknown")},
    meaning="Creates that a hard budget refused: `exceeded`, there was no room for what the task "
    "may cost; `cost_unknown`, nobody knows what the model costs, and one task of it is under way.",
    alert="`exceeded`: a client cannot work; the log's budget.refused names it",
)
BUDGET_THRESHOLDS = Metric(
    name="kie_gateway_budget_thresholds_total",
    kind=Kind.COUNTER,
    labels={"period": tuple(Period)},
    meaning="Thresholds of budgets that were reached, each once in its period.",
    alert="any increase: the log's budget.threshold names the client",
)
BUDGET_OVERSHOOT = Metric(
    name="kie_gateway_budget_overshoot_total",
    kind=Kind.COUNTER,
    meaning="Tasks of clients with a budget that cost more than was reserved for them: the model's "
    "price rose while they were under way, or their reserve had been given back.",
    alert="any increase: a price has changed",
)
BUDGET_OVERSHOOT_CREDITS = Metric(
    name="kie_gateway_budget_overshoot_credits_total",
    kind=Kind.COUNTER,
    meaning="Credits by which those tasks cost more.",
)
RESERVES_FIXED = Metric(
    name="kie_gateway_reserves_fixed_total",
    kind=Kind.COUNTER,
    meaning="Days of clients on which the credits reserved were not those of the tasks, and were "
    "put right.",
    alert="any increase is a defect: report the log's budget.reserve_fixed",
)
MODELS_FAILING = Metric(
    name="kie_gateway_models_failing",
    kind=Kind.GAUGE,
    meaning="Models of which every task of the last 24 hours failed by no fault of its caller, "
    "five or more: withdrawn by kie.ai? `kie-gateway models` and the log's model.fails name them.",
    alert="above 0",
)
UNEXPLAINED = Metric(
    name="kie_gateway_unexplained_credits",
    kind=Kind.GAUGE,
    meaning="Credits that the account lost in the last 24 hours and that no task explains, as of "
    "the last reading of the balance. Only of processes that run the loops.",
    alert="above kie_gateway_unexplained_alert_credits",
)
UNEXPLAINED_ALERT = Metric(
    name="kie_gateway_unexplained_alert_credits",
    kind=Kind.GAUGE,
    meaning="GATEWAY_UNEXPLAINED_ALERT_CREDITS: what may be lost without an alarm.",
)

METRICS = (
    BUDGET_REFUSED,
    BUDGET_THRESHOLDS,
    BUDGET_OVERSHOOT,
    BUDGET_OVERSHOOT_CREDITS,
    RESERVES_FIXED,
    MODELS_FAILING,
    UNEXPLAINED,
    UNEXPLAINED_ALERT,
)
