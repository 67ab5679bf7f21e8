"""Which words are a refusal: what was seen, its likely relatives, and what must stay unknown."""

import time

import pytest

from app.domain import exact_json
from app.domain.submission import Fault, Refused, Unknown
from app.kie import wire
from app.kie.refusals import CODES, MAX_MATCHED, fault_of
from tests.each import each

REQUEST = """
    output_format is not within the range of allowed options
    This aspect_ratio is not within the range of allowed options
    aspect_ratio 'x' is not one of the allowed options
    duration must be one of 5, 10
    The value of n_frames must be one of ["10","15"]
    seed must be an integer
    The video duration must be between 3 and 10 seconds
    Invalid value for aspect_ratio
    Invalid parameter: duration is not within the range of allowed options
    image_size: 'foo' is not a valid value
    Unsupported aspect ratio for this resolution.
    aspect_ratio is required
    This field is required
    The prompt field is required.
    imageUrls is required
    prompt cannot be empty
    Missing required parameter: prompt
    The text length cannot exceed the maximum limit
    prompt exceeds 5000 characters
    The prompt is too long
    The number of images cannot exceed 5
    Operation not found: grok-imagine/old-model
    Operation not found
    The model name you specified is not supported. Please use one of the supported models.
    This model is no longer supported
    File type not supported
    The file type is not supported, please upload jpg or png
    Unsupported file type
    image format is not supported
    File size exceeds the limit of 10MB
    The image size cannot exceed 10MB
    image is too large
    The aspect ratio of the image must be between 1:4 and 4:1
    image aspect ratio is out of range
    Input image URL is invalid.
    Failed to fetch the image. Kindly verify any access limits set by you or your service provider.
    Could not download the video
    The image could not be loaded
    image_url is not accessible
    The file is unreadable
"""

UNKNOWN = """
    Internal Server Error
    Internal server error: invalid response from upstream
    Internal server error while serializing task parameters
    Server exception, please try again later or contact customer service
    Internal error after the task was created: a callback is required by the worker
    aspect_ratio is required by the worker, credits deducted
    task submitted, credits deducted
    No credits were deducted
    recordInfo is null
    Playground task failed.
    Manual review is required
    Review is required
    model is busy
    model is not supported right now, try again later
    Model exceeds the rate limit
    Operation not found: projects/x/operations/12af
    Operation not found: 738a001e654c7be865970326162fdc65
    taskId: 738a001e654c7be865970326162fdc65, prompt is required
    The image is required by task 4711
    Failed to load model
    Failed to fetch the result image
    Failed to process image
    generate task timeout.
    Invalid response
    invalid
"""

CREDITS = """
    Credits insufficient
    Credits insufficient : Your current balance isn't enough to run this request. Please top up.
    Your current balance isn\u2019t enough to run this request
    Your credits are insufficient, please top up
    Insufficient credits
    insufficient account balance
    balance is insufficient
    Your account balance is not enough
    You don't have enough credits
"""

MAINTENANCE = """
    The model is being maintained, please try again later
    nano-banana is being maintained, please try again later
    This feature is currently under maintenance.
"""


def lines(table: str) -> list[str]:
    return [line.strip() for line in table.strip().splitlines()]


def answer(code: int, message: str) -> bytes:
    return exact_json.render({"code": code, "msg": message, "data": None}).encode()


@each("message", lines(REQUEST))
def test_a_parameter_error_under_500_is_refused(message: str) -> None:
    outcome = wire.read_create(200, answer(500, f"  {message}\n"))
    assert outcome == Refused(fault=Fault.REQUEST, code="500", message=message)


@each("message", lines(UNKNOWN))
def test_what_could_be_said_of_a_task_that_exists_is_not(message: str) -> None:
    outcome = wire.read_create(200, answer(500, message))
    assert isinstance(outcome, Unknown)
    assert outcome.message == message


@each("message", lines(CREDITS))
@each("code", [500, *CODES])
def test_words_about_money_are_the_accounts_under_any_refusing_code(
    code: int, message: str
) -> None:
    outcome = wire.read_create(200, answer(code, message))
    assert outcome == Refused(fault=Fault.ACCOUNT, code=str(code), message=message)


@each("code", [200, 0, 403, 501, 502])
@each("message", [*lines(CREDITS), *lines(REQUEST), *lines(MAINTENANCE)])
def test_no_words_prove_anything_under_another_code(code: int, message: str) -> None:
    assert isinstance(wire.read_create(200, answer(code, message)), Unknown)


@pytest.mark.parametrize(
    "message", ["prompt 'insufficient credits' is blocked", "blocked: credits"]
)
def test_a_prompt_that_is_quoted_does_not_hold_the_account(message: str) -> None:
    assert fault_of(422, message) is Fault.REQUEST
    assert fault_of(500, message) is not Fault.ACCOUNT


@pytest.mark.parametrize("message", lines(MAINTENANCE))
def test_maintenance_under_500_means_455(message: str) -> None:
    outcome = wire.read_create(200, answer(500, message))
    assert outcome == Refused(fault=Fault.MAINTENANCE, code="500", message=message)
    assert fault_of(422, message) is Fault.REQUEST


@pytest.mark.parametrize("code", [500, 422])
def test_a_refusal_that_names_a_task_in_its_data_is_none(code: int) -> None:
    body = exact_json.render(
        {"code": code, "msg": "aspect_ratio is required", "data": {"taskId": "t"}}
    )
    outcome = wire.read_create(200, body.encode())
    assert isinstance(outcome, Unknown)
    assert outcome.kie_task_id == "t"


def test_a_message_beyond_the_bound_is_not_matched() -> None:
    message = "aspect_ratio must be one of " + "x" * MAX_MATCHED
    assert fault_of(500, message[:MAX_MATCHED]) is Fault.REQUEST
    assert fault_of(500, message) is None


UNITS = (
    "a ",
    "the ",
    "image ",
    "a.",
    "aA",
    "'a' ",
    "(a) ",
    "1:1 ",
    "image size of the ",
    "model a ",
)


@each("end", ["", " is", "!", " required by", "\0"])
@each("unit", UNITS)
def test_hostile_words_take_no_time(unit: str, end: str) -> None:
    for length in (MAX_MATCHED // 2, MAX_MATCHED):
        message = (unit * MAX_MATCHED)[: length - len(end)] + end
        started = time.process_time()
        fault_of(500, message)
        assert time.process_time() - started < 0.1
