"""`kie-gateway usage`, `budgets`, `models` and `reconciliation`: what they print and refuse."""

import json

from tests.processes.conftest import Connection
from tests.processes.stage import Stage


async def test_budgets_and_usage(stage: Stage, sql: Connection) -> None:
    await sql.execute(
        "INSERT INTO clients (id, name, signing_secret)"
        " VALUES (gen_random_uuid(), 'shop', '\\x00');"
        " INSERT INTO usage_daily SELECT id, (now() AT TIME ZONE 'UTC')::date, 'm', '', '',"
        " 3, 1, 0, 0, 12.50, 40 FROM clients;"
        " INSERT INTO spend_daily SELECT id, (now() AT TIME ZONE 'UTC')::date, 12.50, 4"
        " FROM clients"
    )
    ran = await stage.run_each(
        [
            ["budgets", "set", "shop", "month", "100.5", "--threshold", "90"],
            ["budgets", "set", "shop", "day", "20", "--mode", "warn", "--json"],
            ["budgets", "list"],
            ["budgets", "list", "--client", "shop", "--json"],
            ["usage", "--group-by", "client,model"],
            ["usage", "--group-by", "model", "--client", "shop", "--csv"],
            ["usage", "--json"],
            ["budgets", "clear", "shop", "day"],
            ["budgets", "clear", "shop", "day"],
            ["budgets", "set", "nobody", "day", "1"],
            ["budgets", "set", "shop", "day", "many"],
            ["budgets", "set", "shop", "day", "-0.5"],
            ["usage", "--from", "yesterday"],
            ["usage", "--group-by", "colour"],
            ["usage", "--client", "nobody"],
        ]
    )
    assert [one.status for one in ran] == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 1]
    assert ran[0].out == "set shop month: 100.5 credits (hard), 84.0 of them left\n"
    assert json.loads(ran[1].out)["mode"] == "warn"
    assert ran[2].out.split()[:4] == ["client", "period", "mode", "credits"]
    assert [one["period"] for one in json.loads(ran[3].out)] == ["day", "month"]
    assert "in all 12.5 credits" in ran[4].out
    assert ran[5].out.splitlines() == [
        "model,succeeded,failed,canceled,expired,credits,seconds",
        "m,3,1,0,0,12.5,40",
    ]
    assert json.loads(ran[6].out)["total"]["tasks"]["succeeded"] == 3
    assert ran[7].out == "cleared shop day\n"
    for refused in ran[8:]:
        assert "Traceback" not in refused.err
        assert refused.err.strip()


async def test_models_and_reconciliation(stage: Stage, sql: Connection) -> None:
    await sql.execute(
        "INSERT INTO models VALUES ('00000000-0000-0000-0000-000000000000', 'gone/model',"
        " 6, 0, 6, 8, 2, 4, 4.5, 12, 18, 2, now());"
        " INSERT INTO balance_readings SELECT now() - interval '2 minutes', 100, 0, 0, 0"
        " UNION ALL SELECT now() - interval '1 minute', 88.5, 4.5, 0, 0"
    )
    ran = await stage.run_each(
        [
            ["models"],
            ["models", "--json"],
            ["reconciliation"],
            ["reconciliation", "--json"],
            ["reconciliation", "--from", "yesterday"],
            ["reconciliation", "--from", "2020-01-01"],
        ]
    )
    assert [one.status for one in ran] == [0, 0, 0, 0, 2, 2]
    assert "gone/model" in ran[0].out
    assert "withdrawn?" in ran[0].out
    assert json.loads(ran[1].out)["data"][0]["credits"] == {"p50": 4, "p90": 4.5}
    assert ran[2].out.endswith("in the last 24 hours 7.0 credits unexplained\n")
    assert json.loads(ran[3].out)["unexplained_24h"] == 7
    for refused in ran[4:]:
        assert "Traceback" not in refused.err
