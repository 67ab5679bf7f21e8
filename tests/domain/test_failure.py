"""What kind of trouble a failure was: kie.ai's and the gateway's own words, as they were seen."""

import pytest

from app.domain.failure import READ, classify
from app.domain.task import FailClass, FailCode, FailSource
from tests.each import each

KIE, GATEWAY = FailSource.KIE, FailSource.GATEWAY


@each(
    ("code", "message", "fail_class", "retryable"),
    [
        ("1501", "Content review failed, please change the prompt.", "content", False),
        ("422", "The prompt holds prohibited content", "content", False),
        (
            "400",
            "Your prompt was flagged by Website as violating content policies",
            "content",
            False,
        ),
        ("500", "NSFW content detected", "content", False),
        ("500", "output_format is not within the range of allowed options", "input", False),
        ("500", "aspect_ratio is required", "input", False),
        ("500", "The text length cannot exceed the maximum limit", "input", False),
        ("500", "Operation not found: google/nano-banana", "input", False),
        ("451", "Failed to fetch the image", "input", False),
        ("422", None, "input", False),
        ("404", "", "input", False),
        ("402", "Credits insufficient : Your current balance isn't enough", "account", None),
        ("500", "Credits insufficient. Please top up to continue.", "account", None),
        ("401", None, "account", None),
        ("524", "generate task timeout.", "timeout", True),
        ("408", None, "timeout", True),
        ("500", "Request timed out", "timeout", True),
        ("500", "Internal server error", "provider", True),
        ("455", "The model is being maintained, please try again later", "provider", True),
        ("500", None, "provider", True),
        ("501", "Playground task failed.", "unknown", None),
        ("GENERATION_FAILED", "", "unknown", None),
        (None, None, "unknown", None),
    ],
)
def test_what_kie_said(
    code: str | None,
    message: str | None,
    fail_class: str,
    retryable: bool | None,  # noqa: FBT001  # a column of the table
) -> None:
    found = classify(code, message, KIE)
    assert (found.fail_class, found.retryable) == (fail_class, retryable)


@pytest.mark.parametrize(
    ("code", "fail_class", "retryable"),
    [
        (FailCode.SUBMIT_DEADLINE, "gateway", True),
        (FailCode.OUTCOME_UNKNOWN, "gateway", None),
        (FailCode.NO_ANSWER, "timeout", None),
    ],
)
def test_what_the_gateway_said(
    code: FailCode,
    fail_class: str,
    retryable: bool | None,  # noqa: FBT001
) -> None:
    found = classify(code, "whatever", GATEWAY)
    assert (found.fail_class, found.retryable) == (fail_class, retryable)


def test_every_code_of_the_gateways_own_has_a_class() -> None:
    assert FailClass.UNKNOWN not in {classify(code, None, GATEWAY).fail_class for code in FailCode}


def test_only_the_beginning_of_a_message_is_read() -> None:
    assert classify(None, "x" * READ + "timeout", KIE).fail_class is FailClass.UNKNOWN
