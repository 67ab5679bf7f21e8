"""kie.ai's words for a task's state, family by family."""

from collections.abc import Mapping

from app.domain.report import Progress

_RUNNING, _SUCCEEDED, _FAILED = Progress.RUNNING, Progress.SUCCEEDED, Progress.FAILED

SIGNALS: tuple[tuple[str, Mapping[str, Progress]], ...] = (
    (
        "state",  # the market models; "wait" and "queueing" are Runway's
        {
            "waiting": _RUNNING,
            "wait": _RUNNING,
            "queuing": _RUNNING,
            "queueing": _RUNNING,
            "generating": _RUNNING,
            "success": _SUCCEEDED,
            "fail": _FAILED,
        },
    ),
    (
        "successFlag",  # Veo, 4o image, Flux Kontext, Aleph; the word is Suno's, seen live
        {"0": _RUNNING, "1": _SUCCEEDED, "2": _FAILED, "3": _FAILED, "成功": _SUCCEEDED},
    ),
    (
        "status",  # Suno's queries
        {
            "pending": _RUNNING,
            "text_success": _RUNNING,
            "first_success": _RUNNING,
            "success": _SUCCEEDED,
            "create_task_failed": _FAILED,
            "generate_audio_failed": _FAILED,
            "callback_exception": _FAILED,
            "sensitive_word_error": _FAILED,
        },
    ),
    (
        "callbackType",  # Suno's callbacks
        {"text": _RUNNING, "first": _RUNNING, "complete": _SUCCEEDED, "error": _FAILED},
    ),
)
"""Where a task's state can stand, and what kie.ai's words mean, in lower case.

The first field with anything in it decides; a word that is not listed counts as running.
"""

TOLERATED: Mapping[str, Progress] = {
    **dict.fromkeys(("succeeded", "succeed", "successful", "completed", "complete"), _SUCCEEDED),
    **dict.fromkeys(("done", "finished", "finish"), _SUCCEEDED),
    **dict.fromkeys(("failed", "failure", "error"), _FAILED),
}
"""End words that clients take and nobody was seen receiving.

Each counts only with what an end has beside it: a success with a result, a failure with a code or
a message of its own or an envelope that does not say success. Alone it is a word like any other
that is not listed, for a step may be "completed" in a task that runs on.
"""
