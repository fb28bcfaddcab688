"""What all tables share: naming, types of columns, ids and references."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in an INTEGER primary key.
BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Byte order, so that a range of the index finds a prefix.
Ident = sa.String(36, collation="C").with_variant(sa.String(36), "sqlite")
State = sa.String(16)
Clock: sa.types.TypeEngine[float] = sa.Double()


def make_table(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    """Return a table of the one schema."""
    return sa.Table(name, metadata, *parts)


def make_id() -> sa.Column[int]:
    """Return the column that numbers rows."""
    return sa.Column("id", BigId, primary_key=True)


def make_ref(name: str, target: str, *, nullable: bool = False, primary_key: bool = False) -> sa.Column[int]:
    """Return a column that refers to a row of another table and goes with it."""
    return sa.Column(
        name,
        BigId,
        sa.ForeignKey(f"{target}.id", ondelete="CASCADE"),
        nullable=nullable,
        primary_key=primary_key,
    )
