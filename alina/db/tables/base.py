"""The declarative base, column types and the words for checks that all tables share."""

import enum
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Enum, MetaData, Numeric, Text, Uuid
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """Every table of ours. The schema itself is made by the migrations only."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy declares this name without ClassVar
        str: Text(),
        Decimal: Numeric(),  # without a scale: every digit is kept
        datetime: DateTime(timezone=True),
        UUID: Uuid(),
        enum.Enum: Enum(
            enum.Enum, native_enum=False, length=32, values_callable=lambda kind: [m.value for m in kind]
        ),
    }


def named(name: str) -> CheckConstraint:
    """The text is a name: not empty, and short enough to be read."""
    return CheckConstraint(f"length({name}) BETWEEN 1 AND 200", name=name)


def above_zero(column: str) -> CheckConstraint:
    """Above zero and finite (Postgres sorts NaN above Infinity)."""
    return CheckConstraint(f"{column} > 0 AND {column} < 'Infinity'::numeric", name=column)


def not_negative(column: str) -> CheckConstraint:
    """Zero or more, and finite."""
    return CheckConstraint(f"{column} >= 0 AND {column} < 'Infinity'::numeric", name=column)


def at_least(least: int, column: str) -> CheckConstraint:
    """A whole number with a lower bound."""
    return CheckConstraint(f"{column} >= {least}", name=column)


def finite(column: str) -> CheckConstraint:
    """Any sign, but a number."""
    return CheckConstraint(f"{column} > '-Infinity'::numeric AND {column} < 'Infinity'::numeric", name=column)


def readable(column: str) -> CheckConstraint:
    """A time that Python can hold too: Postgres knows infinite ones, and years before 1 and after 9999."""
    return CheckConstraint(f"{column} BETWEEN '1970-01-01Z' AND '9999-12-31Z'", name=column)


def fraction(column: str) -> CheckConstraint:
    """From 0 to 1."""
    return CheckConstraint(f"{column} BETWEEN 0 AND 1", name=column)


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """One of these words."""
    words = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({words})", name=column)


def sha256(column: str) -> CheckConstraint:
    """The 64 hexadecimal digits of a SHA-256."""
    return CheckConstraint(f"{column} ~ '^[0-9a-f]{{64}}$'", name=column)


def both_or_neither(name: str, left: str, right: str) -> CheckConstraint:
    """Two conditions that must agree."""
    return CheckConstraint(f"({left}) = ({right})", name=name)
