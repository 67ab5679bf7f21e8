"""The lab's receiver judges signatures as they come."""

import json
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from tests.faults.lab.scenario import Hooks
from tests.services.callers import Caller, Heard

SECRET = "whsec_" + "c2VjcmV0" * 4
OTHER = "whsec_" + "b3RoZXJz" * 4
BODY = json.dumps({"type": "task.succeeded", "data": {"id": "t"}})


def told(secret: str, age: float) -> Heard:
    at = datetime.fromtimestamp(time.time() - age, UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", at, BODY),
    }
    return Heard("/hook", headers, BODY.encode())


@pytest.mark.parametrize(
    ("secret", "age", "status"),
    [(SECRET, 0, 200), (OTHER, 0, 401), (SECRET, 600, 401)],
    ids=["signed", "by another secret", "too old"],
)
def test_a_delivery_is_verified_on_arrival(secret: str, age: float, status: int) -> None:
    hooks = Hooks(Caller(), (SECRET,))
    delivery = told(secret, age)
    assert hooks.caller.answer(delivery)[0] == status
    hooks.caller.heard.append(delivery)
    assert [heard.verified for heard in hooks.heard({"t"})] == [status == 200]
