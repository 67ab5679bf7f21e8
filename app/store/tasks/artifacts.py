"""The files of a task's result, as its answers show them."""

from sqlalchemy import Text, case, func, literal_column, select, type_coerce
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.domain.files import ArtifactState
from app.store.sql import TEXT_OF_JSON
from app.store.tables import Artifact, Task

_IS_STORED = Artifact.state == literal_column(f"'{ArtifactState.STORED.value}'", Text)
_IS_DELETING = Artifact.state == literal_column(f"'{ArtifactState.DELETING.value}'", Text)
_DELETED = literal_column(f"'{ArtifactState.DELETED.value}'", Text)
_ARTIFACT_URL = func.format("/v1/tasks/%s/artifacts/%s", Artifact.task_id, Artifact.n)

ARTIFACTS = type_coerce(
    func.coalesce(
        select(
            func.json_agg(
                aggregate_order_by(
                    func.json_build_object(
                        *("n", Artifact.n),
                        *("source_url", Artifact.source_url),
                        *("state", case((_IS_DELETING, _DELETED), else_=Artifact.state)),
                        *("content_type", Artifact.content_type),
                        *("bytes", Artifact.bytes),
                        *("sha256", func.encode(Artifact.sha256, "hex")),
                        *("reason", Artifact.reason),
                        *("url", case((_IS_STORED, _ARTIFACT_URL))),
                    ),
                    Artifact.n,
                )
            ).cast(Text)
        )
        .where(Artifact.task_id == Task.id)
        .correlate(Task)
        .scalar_subquery(),
        "[]",
    ),
    TEXT_OF_JSON,
).label("artifacts")
"""A list in JSON, as text that answers and deliveries pass on unread."""
