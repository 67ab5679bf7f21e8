"""How the commands about models show what they found."""

from decimal import Decimal

from app.services.spend.models import flat
from app.wiring import utc_now

SPAN = {"tasks": 8, "succeeded": 6, "success_share": 0.75}
NONE = {"tasks": 0, "succeeded": 0, "success_share": None}
HELD = {"hold_reason": "kie_busy", "held_until": utc_now()}


def test_a_table_of_models_says_what_ails_them() -> None:
    shown = {
        "model": "m",
        "last_24h": NONE,
        "last_7d": SPAN,
        "credits": {"p50": Decimal(4), "p90": Decimal("4.5")},
        "seconds": {"p50": Decimal(12), "p95": None},
        "last_success_at": None,
        "withdrawn": True,
        "breaker": HELD,
    }
    head, (row,) = flat([shown])
    assert len(head) == len(row)
    figures: list[object] = ["m", 0, None, 8, "75.0%", Decimal(4), Decimal("4.5"), Decimal(12)]
    assert row[:8] == figures
    assert row[8:] == [None, None, "every task fails: withdrawn?; held: kie_busy"]
