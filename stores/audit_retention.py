"""The audit trail by month: partitions are made ahead, and dropped whole once they are old enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection, transaction
from django.db.models import Max

from stores.audit_proof import sign
from stores.models import AuditAnchor, AuditEntry

_TABLE = AuditEntry._meta.db_table


@dataclass(frozen=True, slots=True)
class Month:
    """One partition: entries from ``begins`` up to, and without, ``ends``."""

    begins: datetime
    ends: datetime

    @property
    def table(self) -> str:
        """Return the partition's name."""
        return f"{_TABLE}_{self.begins:%Y_%m}"


def month_of(moment: datetime) -> Month:
    """Return the month of a moment, in UTC."""
    begins = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    ends = (
        begins.replace(year=begins.year + 1, month=1) if begins.month == 12 else begins.replace(month=begins.month + 1)
    )
    return Month(begins, ends)


def ensure_partitions(*, now: datetime) -> list[str]:
    """Make the partitions of this month and the next. Returns the names of those that were made. Safe to repeat.

    A month whose entries came before its partition stays in the default partition.
    """
    made = []
    this = month_of(now)
    for month in (this, month_of(this.ends)):
        if month.table in _partitions() or _in_default(month):
            continue
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"create table if not exists {month.table} partition of {_TABLE} for values from (%s) to (%s)",
                [month.begins, month.ends],
            )
            cursor.execute("select stores_audit_guard(%s)", [month.table])
        made.append(month.table)
    return made


def prune(*, before: datetime, key: str) -> Iterator[Month]:
    """Drop each month that lies wholly before ``before``, oldest first, and sign where its chains go on.

    Yields the months that were dropped, each in a transaction of its own.
    """
    for table in sorted(_partitions()):
        month = _month_named(table)
        if month is None or month.ends > before:
            continue
        with transaction.atomic():
            for chain, number in _last_of(month):
                last = AuditEntry.objects.get(chain=chain, number=number)
                signature = sign(chain, number, last.digest, key=key)
                AuditAnchor.objects.update_or_create(
                    chain=chain, defaults={"number": number, "digest": last.digest, "signature": signature}
                )
            with connection.cursor() as cursor:
                cursor.execute(f"drop table {table}")
        yield month


def _last_of(month: Month) -> list[tuple[str, int]]:
    inside = AuditEntry.objects.filter(at__gte=month.begins, at__lt=month.ends)
    return list(inside.order_by("chain").values_list("chain").annotate(last=Max("number")))


def _in_default(month: Month) -> bool:
    return AuditEntry.objects.filter(at__gte=month.begins, at__lt=month.ends).exists()


def _partitions() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            " where i.inhparent = %s::regclass",
            [_TABLE],
        )
        return {name for (name,) in cursor.fetchall()}


def _month_named(table: str) -> Month | None:
    try:
        begins = datetime.strptime(table, f"{_TABLE}_%Y_%m").replace(tzinfo=UTC)
    except ValueError:
        return None  # the default partition
    return month_of(begins)
