"""Every payload shape that is known of kie.ai, and what the gateway makes of it, in full."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from app.domain import exact_json
from app.domain.report import (
    Answer,
    Answered,
    DownloadLink,
    NotVisible,
    Progress,
    Report,
    Unreadable,
)
from app.domain.submission import Accepted, Fault, Outcome, Refused, Unknown
from app.kie import wire
from tests.each import each

SAMPLES = Path(__file__).parent / "samples"

Expected = Outcome | Answer | Report | Unreadable | Decimal | DownloadLink


def at(instant: str) -> datetime:
    return datetime.fromisoformat(instant)


def create(body: bytes) -> Expected:
    return wire.read_create(200, body)


def callback(body: bytes) -> Expected:
    return wire.read_callback(body)


def credit(body: bytes) -> Expected:
    return wire.read_credit(200, body)


def download(body: bytes) -> Expected:
    return wire.read_download(200, body)


def query(body: bytes) -> Expected:
    """The report alone, after seeing that its bytes came through untouched."""
    answer = wire.read_query(200, body)
    if not isinstance(answer, Answered):
        return answer
    assert answer.body == body
    return answer.report


EXPECTED: dict[str, tuple[Callable[[bytes], Expected], Expected]] = {
    "01-market-create-ok": (create, Accepted(kie_task_id="738a001e654c7be865970326162fdc65")),
    "02-market-recordinfo-waiting": (
        query,
        Report(
            progress=Progress.RUNNING,
            kie_task_ids=("81e3ce5ae8c47b842ca80ea4f82e4356",),
            code=200,
            message="success",
            kie_state="waiting",
            kie_created_at=at("2026-04-30T08:53:10.339Z"),
        ),
    ),
    "03-market-recordinfo-generating": (
        query,
        Report(
            progress=Progress.RUNNING,
            kie_task_ids=("928692ef69f8aff5c8cb0a34c48e0ebe",),
            code=200,
            message="success",
            kie_state="generating",
            kie_created_at=at("2026-04-22T12:56:07.160Z"),
        ),
    ),
    "04-market-recordinfo-success-image": (
        query,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("738a001e654c7be865970326162fdc65",),
            code=200,
            message="success",
            kie_state="success",
            result={"resultUrls": ["https://tempfile.aiquickdraw.com/r/dbfb7dd262c1.png"]},
            result_urls=("https://tempfile.aiquickdraw.com/r/dbfb7dd262c1.png",),
            duration_seconds=Decimal(12),
            kie_created_at=at("2026-04-16T07:18:51.830Z"),
            kie_completed_at=at("2026-04-16T07:19:04.883Z"),
        ),
    ),
    "06-market-recordinfo-success-video": (
        query,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("b9a7724b2c85971e2ab31c560e3c8181",),
            code=200,
            message="success",
            kie_state="success",
            result={"resultUrls": ["https://tempfile.aiquickdraw.com/r/7c9c1ec03983.mp4"]},
            result_urls=("https://tempfile.aiquickdraw.com/r/7c9c1ec03983.mp4",),
            duration_seconds=Decimal(127),
            kie_created_at=at("2026-04-30T09:13:45.139Z"),
            kie_completed_at=at("2026-04-30T09:15:52.331Z"),
        ),
    ),
    "08-market-recordinfo-waiting-creditsconsumed": (
        query,
        Report(
            progress=Progress.RUNNING,
            kie_task_ids=("745416db18a46eb2dd95cf152cc61827",),
            code=200,
            message="success",
            kie_state="waiting",
            credits_consumed=Decimal("4.0"),
            kie_created_at=at("2026-08-28T04:42:07.821Z"),
        ),
    ),
    "09-market-recordinfo-success-creditsconsumed": (
        query,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("b0b3bcecdcf3eada22ddbc8f3d7bf7e4",),
            code=200,
            message="success",
            kie_state="success",
            result={"resultUrls": ["https://tempfile.aiquickdraw.com/r/5db76697b524.jpg"]},
            result_urls=("https://tempfile.aiquickdraw.com/r/5db76697b524.jpg",),
            credits_consumed=Decimal("4.0"),
            duration_seconds=Decimal(13),
            kie_created_at=at("2026-08-28T04:43:58.526Z"),
            kie_completed_at=at("2026-08-28T04:44:12.240Z"),
        ),
    ),
    "11-market-recordinfo-unknown-422": (query, NotVisible()),
    "12-market-recordinfo-success-docs-message-key": (
        query,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("task_12345678",),
            code=200,
            message="success",
            kie_state="success",
            result={"resultUrls": ["https://example.com/generated-content.jpg"]},
            result_urls=("https://example.com/generated-content.jpg",),
            callback_url="https://your-domain.com/api/callback",
            kie_created_at=at("2023-10-31T15:16:40Z"),
            kie_completed_at=at("2023-10-31T15:17:12Z"),
        ),
    ),
    "13-market-recordinfo-fail-docs": (
        query,
        Report(
            progress=Progress.FAILED,
            kie_task_ids=("task_12345678",),
            code=200,
            message="success",
            kie_state="fail",
            fail_code="422",
            fail_message="Invalid prompt: prompt contains prohibited content",
            kie_created_at=at("2023-10-31T15:16:40Z"),
            kie_completed_at=at("2023-10-31T15:17:12Z"),
        ),
    ),
    "15-market-callback-success-2025": (
        callback,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("e989621f54392584b05867f87b160672",),
            code=200,
            message="Playground task completed successfully.",
            kie_state="success",
            result={"resultUrls": ["https://example.com/generated-image.jpg"]},
            result_urls=("https://example.com/generated-image.jpg",),
            credits_consumed=Decimal(100),
            duration_seconds=Decimal(8),
            callback_url="https://your-domain.com/api/callback",
            kie_created_at=at("2025-08-19T10:33:54Z"),
            kie_completed_at=at("2025-08-19T10:34:04Z"),
        ),
    ),
    "16-market-callback-fail-2025": (
        callback,
        Report(
            progress=Progress.FAILED,
            kie_task_ids=("bd3a37c523149e4adf45a3ddb5faf1a8",),
            code=501,
            message="Playground task failed.",
            kie_state="fail",
            fail_code="500",
            fail_message="Internal server error",
            credits_consumed=Decimal(0),
            duration_seconds=Decimal(0),
            callback_url="https://your-domain.com/api/callback",
            kie_created_at=at("2025-08-19T09:39:01Z"),
            kie_completed_at=at("2025-08-19T09:51:21Z"),
        ),
    ),
    "18-market-callback-success-nulls": (
        callback,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("e989621f54392584b05867f87b160672",),
            code=200,
            message="Playground task completed successfully.",
            kie_state="success",
            result={"resultUrls": ["https://example.com/generated-video.mp4"]},
            result_urls=("https://example.com/generated-video.mp4",),
            duration_seconds=Decimal(8),
            callback_url="https://your-domain.com/api/callback",
            kie_created_at=at("2025-08-19T10:33:54Z"),
            kie_completed_at=at("2025-08-19T10:34:04Z"),
        ),
    ),
    "20-market-callback-fail-seedance2": (
        callback,
        Report(
            progress=Progress.FAILED,
            kie_task_ids=("task_example_video_webhook_001",),
            code=501,
            message="Playground task failed.",
            kie_state="fail",
            fail_code="GENERATION_FAILED",
            fail_message="The generation task failed.",
            credits_consumed=Decimal(0),
            duration_seconds=Decimal(12),
            kie_created_at=at("2009-02-13T21:20:00Z"),
            kie_completed_at=at("2009-02-13T23:31:30Z"),
        ),
    ),
    "23-market-callback-success-seedream4": (
        callback,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("09c65f188098ebe4becda5fa6303d887",),
            code=200,
            message="Playground task completed successfully.",
            kie_state="success",
            result={"resultUrls": ["https://tempfile.aiquickdraw.com/r/90f9d74ef12d.jpg"]},
            result_urls=("https://tempfile.aiquickdraw.com/r/90f9d74ef12d.jpg",),
            credits_consumed=Decimal(5),
            duration_seconds=Decimal(21),
            callback_url="https://example.com/callback",
            kie_created_at=at("2026-08-11T01:54:18Z"),
            kie_completed_at=at("2026-08-11T01:54:42Z"),
        ),
    ),
    "25-create-error-unsupported-model": (
        create,
        Refused(
            fault=Fault.REQUEST,
            code="422",
            message=(
                "The model name you specified is not supported. Please verify your input "
                "and use one of the supported models provided by KIE."
            ),
        ),
    ),
    "26-create-error-missing-param-500": (
        create,
        Refused(fault=Fault.REQUEST, code="500", message="aspect_ratio is required"),
    ),
    "28-suno-create-422-callback-required": (
        create,
        Refused(fault=Fault.REQUEST, code="422", message="Please enter callBackUrl."),
    ),
    "29-suno-create-ok": (create, Accepted(kie_task_id="a7971ae1c1d0522b156cc53f9c8a9b33")),
    "30-suno-recordinfo-unknown": (query, NotVisible()),
    "32-suno-callback-text": (
        callback,
        Report(
            progress=Progress.RUNNING,
            kie_task_ids=("2fac****9f72",),
            code=200,
            message="Text generation completed successfully.",
            kie_state="text",
        ),
    ),
    "33-suno-callback-complete": (
        callback,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("2fac****9f72",),
            code=200,
            message="All generated successfully.",
            kie_state="complete",
            result={
                "data": [
                    {
                        "id": "e231****-****-****-****-****8cadc7dc",
                        "audio_url": "https://example.cn/r/a0bfc9bd5241.mp3",
                        "stream_audio_url": "https://example.cn/r/9c171310428d",
                        "image_url": "https://example.cn/r/fb4cc9d69368.jpeg",
                        "prompt": "[Verse] ...",
                        "model_name": "chirp-v3-5",
                        "title": "Iron Man",
                        "tags": "electrifying, rock",
                        "createTime": "2025-01-01 00:00:00",
                        "duration": Decimal("198.44"),
                    },
                    {
                        "id": "e231****-****-****-****-****8cadc7dd",
                        "audio_url": "https://example.cn/r/a0bfc9bd5241.mp3",
                        "stream_audio_url": "https://example.cn/r/9c171310428d",
                        "image_url": "https://example.cn/r/fb4cc9d69368.jpeg",
                        "prompt": "[Verse] ...",
                        "model_name": "chirp-v3-5",
                        "title": "Iron Man",
                        "tags": "electrifying, rock",
                        "createTime": "2025-01-01 00:00:00",
                        "duration": Decimal("198.44"),
                    },
                ]
            },
            result_urls=(
                "https://example.cn/r/a0bfc9bd5241.mp3",
                "https://example.cn/r/9c171310428d",
                "https://example.cn/r/fb4cc9d69368.jpeg",
            ),
        ),
    ),
    "35-veo-callback-success": (
        callback,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("veo_task_abcdef123456",),
            code=200,
            message="Veo3.1 video generated successfully.",
            result={
                "resultUrls": ["http://example.com/video1.mp4"],
                "originUrls": ["http://example.com/original_video1.mp4"],
                "resolution": "1080p",
            },
            result_urls=("http://example.com/video1.mp4", "http://example.com/original_video1.mp4"),
        ),
    ),
    "36-veo-callback-fail": (
        callback,
        Report(
            progress=Progress.FAILED,
            kie_task_ids=("veo_task_abcdef123456",),
            code=400,
            message="Your prompt was flagged by Website as violating content policies.",
            fail_code="400",
            fail_message="Your prompt was flagged by Website as violating content policies.",
        ),
    ),
    "38-veo-4k-callback-success": (
        callback,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("veo_task_abcdef123456",),
            code=200,
            message="4K Video generated successfully.",
            result={
                "resultUrls": ["https://example.com/video_4k.mp4"],
                "imageUrls": ["https://example.com/cover.jpg"],
            },
            result_urls=("https://example.com/video_4k.mp4", "https://example.com/cover.jpg"),
        ),
    ),
    "40-4o-recordinfo-generating": (
        query,
        Report(
            progress=Progress.RUNNING,
            kie_task_ids=("task_4o_abc123",),
            code=200,
            message="success",
            kie_state="0",
            kie_created_at=at("2024-01-15T10:30:00Z"),
        ),
    ),
    "42-4o-recordinfo-success-openapi": (
        query,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("task12345",),
            code=200,
            message="success",
            kie_state="1",
            result={"resultUrls": ["https://example.com/result/image1.png"]},
            result_urls=("https://example.com/result/image1.png",),
            kie_created_at=at("2023-01-01T08:20:00Z"),
            kie_completed_at=at("2023-01-01T12:00:00Z"),
        ),
    ),
    "44-4o-callback-success": (
        callback,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("task12345",),
            code=200,
            message="success",
            result={"result_urls": ["https://example.com/result/image1.png"]},
            result_urls=("https://example.com/result/image1.png",),
        ),
    ),
    "46-flux-create-ok": (create, Accepted(kie_task_id="d0c4adb97877ab7f8ac4df5d8d782879")),
    "47-flux-recordinfo-unknown": (query, NotVisible()),
    "48-flux-callback-success": (
        callback,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("task12345",),
            code=200,
            message="BFL image generated successfully.",
            result={
                "originImageUrl": "https://example.com/original.jpg",
                "resultImageUrl": "https://example.com/result.jpg",
            },
            result_urls=("https://example.com/original.jpg", "https://example.com/result.jpg"),
        ),
    ),
    "50-runway-recordinfo": (
        query,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("e32df5d7-d3a8-4661-a2fd-6c96114807f3",),
            code=200,
            message="success",
            kie_state="success",
            result={
                "videoId": "643cd95f-ca04-4b0a-aabe-40833c154c53",
                "taskId": "e32df5d7-d3a8-4661-a2fd-6c96114807f3",
                "videoUrl": "https://file.com/r/90a66a36899d.mp4",
                "imageUrl": "https://file.com/r/be5fecd4976d.png",
            },
            result_urls=(
                "https://file.com/r/90a66a36899d.mp4",
                "https://file.com/r/be5fecd4976d.png",
            ),
        ),
    ),
    "51-runway-callback-success": (
        callback,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("e32df5d7-d3a8-4661-a2fd-6c96114807f3",),
            code=200,
            message="All generated successfully.",
            result={
                "video_url": "https://file.com/r/90a66a36899d.mp4",
                "image_url": "https://file.com/r/be5fecd4976d.png",
            },
            result_urls=(
                "https://file.com/r/90a66a36899d.mp4",
                "https://file.com/r/be5fecd4976d.png",
            ),
        ),
    ),
    "53-aleph-callback-success": (
        callback,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("e32df5d7-d3a8-4661-a2fd-6c96114807f3",),
            code=200,
            message="success",
            result={
                "result_video_url": "https://file.com/r/90a66a36899d.mp4",
                "result_image_url": "https://file.com/r/be5fecd4976d.png",
            },
            result_urls=(
                "https://file.com/r/90a66a36899d.mp4",
                "https://file.com/r/be5fecd4976d.png",
            ),
        ),
    ),
    "56-aleph-recordinfo-pending-live": (
        query,
        Report(
            progress=Progress.RUNNING,
            kie_task_ids=("bcebc684425708855738994231020bdb",),
            code=200,
            message="success",
            kie_state="0",
            kie_created_at=at("2026-08-18T22:51:40Z"),
        ),
    ),
    "57-luma-callback-success": (
        callback,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("df276a1fd096d79b5a8c0175ed8e20f1",),
            code=200,
            message="Modify record generated successfully.",
            result={"resultUrls": ["https://tempfile.aiquickdraw.com/r/706c932f0bdc.mp4"]},
            result_urls=("https://tempfile.aiquickdraw.com/r/706c932f0bdc.mp4",),
            callback_url="https://example.com/callback",
        ),
    ),
    "59-midjourney-recordinfo-success": (
        query,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("mj_task_abcdef123456",),
            code=200,
            message="success",
            kie_state="1",
            result={
                "resultUrls": [
                    {"resultUrl": "https://example.com/image1.jpg"},
                    {"resultUrl": "https://example.com/image2.jpg"},
                    {"resultUrl": "https://example.com/image3.jpg"},
                    {"resultUrl": "https://example.com/image4.jpg"},
                ]
            },
            result_urls=(
                "https://example.com/image1.jpg",
                "https://example.com/image2.jpg",
                "https://example.com/image3.jpg",
                "https://example.com/image4.jpg",
            ),
        ),
    ),
    "60-midjourney-callback-fail": (
        callback,
        Report(
            progress=Progress.FAILED,
            kie_task_ids=("mj_task_12345",),
            code=500,
            message="Image generation failed",
            fail_code="500",
            fail_message="Image generation failed",
        ),
    ),
    "other-01-suno-wav-422-unknown": (query, NotVisible()),
    "other-02-suno-style-sync": (
        query,
        Report(
            progress=Progress.SUCCEEDED,
            kie_task_ids=("5453760a34e50506e02fac2b41d6d8ed",),
            code=200,
            message="success",
            kie_state="成功",
            result={
                "result": (
                    "Mysterious pop built around a hushed intro with sparse felt piano, breathy "
                    "synth pads, and close-miked vocal lines in lots of space. The quietest "
                    "sections carry the heaviest bar: a sudden drop to sub-heavy 808 kick, "
                    "distorted tom hits, punchy snare, and low brass stabs. Wide chorus, delay "
                    "throws, and tense minor-key hooks."
                )
            },
            credits_consumed=Decimal("0.4"),
            kie_created_at=at("2026-04-28T12:28:01.542Z"),
        ),
    ),
    "other-03-common-credit": (credit, Decimal("5916.25")),
    "other-04-common-downloadurl-422": (
        download,
        DownloadLink(code=422, message="url is wrong", url=None),
    ),
    "other-05-upload-base64-ok": (
        create,
        Unknown(
            reason="kie.ai answered code 200: File uploaded successfully",
            message="File uploaded successfully",
        ),
    ),
}


@each("name", EXPECTED)
def test_each_sample_is_read_as_written_here(name: str) -> None:
    read, expected = EXPECTED[name]
    assert read(body_of(name)) == expected


def test_no_sample_is_left_out() -> None:
    assert set(EXPECTED) == {path.stem for path in SAMPLES.glob("*.json")}


def test_the_balance_is_nowhere_in_what_was_read() -> None:
    for name, (read, _) in EXPECTED.items():
        found = read(body_of(name))
        assert "2510330" not in repr(found), name
        assert "2510430" not in repr(found), name
        assert "29212.53" not in repr(found), name


def body_of(name: str) -> bytes:
    sample = exact_json.read((SAMPLES / f"{name}.json").read_bytes())
    return exact_json.render(sample["body"]).encode()
