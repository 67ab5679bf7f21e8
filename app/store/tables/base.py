"""What all tables share: their names' pattern, and the types of their columns."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSON, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase

Instant = TIMESTAMP(timezone=True)


def one_of(column: str, kinds: type[StrEnum]) -> CheckConstraint:
    """TEXT with CHECK rather than an ENUM type: a new value is one cheap migration."""
    values = ", ".join(f"'{kind.value}'" for kind in kinds)
    return CheckConstraint(f"{column} IN ({values})", name=column)


class Base(DeclarativeBase):
    """Names and types that all tables share."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )
    type_annotation_map = {
        str: Text,
        bytes: LargeBinary,
        datetime: Instant,
        Decimal: Numeric,
        float: DOUBLE_PRECISION,
        dict[str, str]: JSONB,
        # JSON, not JSONB: it keeps the text, so key order and every digit survive.
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: ARRAY(Text),
        list[UUID]: ARRAY(Uuid),
        list[int]: ARRAY(Integer),
    }
