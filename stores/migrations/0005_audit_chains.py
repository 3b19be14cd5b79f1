"""The audit trail as chains of digests, in a table that is partitioned by month."""

import hashlib
import json
from datetime import UTC

import pgtrigger.migrations
from django.db import migrations, models

_CREATE = """
alter table stores_auditentry rename to stores_auditentry_before;
create sequence stores_auditentry_number;
create table stores_auditentry (
  id bigint not null default nextval('stores_auditentry_number'),
  at timestamp with time zone not null,
  chain varchar(40) not null,
  number bigint not null check (number >= 0),
  team_id bigint,
  actor_name varchar(150) not null,
  actor_id bigint,
  role varchar(40) not null,
  action varchar(60) not null,
  outcome varchar(16) not null,
  object_type varchar(60) not null,
  object_id varchar(64) not null,
  address inet,
  request_id varchar(64) not null,
  before jsonb not null,
  after jsonb not null,
  previous varchar(64) not null,
  digest varchar(64) not null,
  constraint stores_auditentry_by_month primary key (id, at)
) partition by range (at);
alter sequence stores_auditentry_number owned by stores_auditentry.id;
create table stores_auditentry_default partition of stores_auditentry default;
"""

_GUARD = """
drop table stores_auditentry_before;
alter table stores_auditentry add constraint audit_place_in_chain unique (chain, number, at);
create index audit_by_object on stores_auditentry (object_type, object_id, at desc);
create index audit_newest on stores_auditentry (at desc, id desc);
create index audit_newest_of_team on stores_auditentry (team_id, at desc, id desc);

create function stores_audit_refuse() returns trigger language plpgsql as $$
begin
  raise exception 'the audit log is append-only';
end $$;
create trigger audit_append_only before update or delete on stores_auditentry
  for each row execute function stores_audit_refuse();
create trigger audit_no_truncate before truncate on stores_auditentry
  for each statement execute function stores_audit_refuse();
-- A trigger on TRUNCATE is not inherited by partitions.
create function stores_audit_guard(partition regclass) returns void language plpgsql as $$
begin
  execute format('create trigger audit_no_truncate before truncate on %s'
                 ' for each statement execute function stores_audit_refuse()', partition);
end $$;
select stores_audit_guard('stores_auditentry_default');
"""

_FIELDS = (
    "chain", "number", "team_id", "actor_name", "actor_id", "role", "action", "outcome", "object_type", "object_id",
    "address", "request_id", "before", "after", "previous",
)


def _chain_what_was_there(apps, schema_editor):
    entry_model, chain_model = apps.get_model("stores", "AuditEntry"), apps.get_model("stores", "AuditChain")
    columns = ("at", "actor_name", "actor_id", "action", "object_type", "object_id", "address", "request_id", "before",
               "after")
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(f"select {', '.join(columns)} from stores_auditentry_before order by id")
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    number, previous, latest = 0, "", None
    for row in rows:
        for name in ("before", "after"):
            row[name] = json.loads(row[name]) if isinstance(row[name], str) else row[name]
        row["address"] = str(row["address"]) if row["address"] else None
        number += 1
        latest = max(latest, row["at"]) if latest else row["at"]
        told = {**row, "chain": "platform", "number": number, "team_id": None, "role": "", "outcome": "done",
                "previous": previous, "at": latest}
        text = {name: told[name] for name in _FIELDS} | {"at": latest.astimezone(UTC).isoformat()}
        previous = hashlib.sha256(json.dumps(text, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        entry_model.objects.create(**told, digest=previous)
    if rows:
        chain_model.objects.create(chain="platform", number=number, digest=previous, at=latest)


class Migration(migrations.Migration):

    dependencies = [
        ("stores", "0004_store_team_for_owner"),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(model_name="auditentry", name="append_only"),
        pgtrigger.migrations.RemoveTrigger(model_name="auditentry", name="no_truncate"),
        migrations.CreateModel(
            name="AuditChain",
            fields=[
                ("chain", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("number", models.PositiveBigIntegerField(default=0)),
                ("digest", models.CharField(blank=True, max_length=64)),
                ("at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="AuditAnchor",
            fields=[
                ("chain", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("number", models.PositiveBigIntegerField()),
                ("digest", models.CharField(max_length=64)),
                ("signature", models.CharField(max_length=64)),
            ],
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(_CREATE, migrations.RunSQL.noop)],
            state_operations=[
                migrations.RemoveIndex(model_name="auditentry", name="audit_newest"),
                migrations.AddField("auditentry", "chain", models.CharField(max_length=40, default=""), False),
                migrations.AddField("auditentry", "number", models.PositiveBigIntegerField(default=0), False),
                migrations.AddField("auditentry", "team_id", models.BigIntegerField(blank=True, null=True)),
                migrations.AddField("auditentry", "role", models.CharField(blank=True, max_length=40)),
                migrations.AddField(
                    "auditentry",
                    "outcome",
                    models.CharField(
                        choices=[("done", "Done"), ("refused", "Refused")], default="done", max_length=16
                    ),
                ),
                migrations.AddField("auditentry", "previous", models.CharField(blank=True, max_length=64)),
                migrations.AddField("auditentry", "digest", models.CharField(max_length=64, default=""), False),
                migrations.AddConstraint(
                    "auditentry",
                    models.UniqueConstraint(fields=("chain", "number", "at"), name="audit_place_in_chain"),
                ),
                migrations.AddIndex("auditentry", models.Index(fields=["-at", "-id"], name="audit_newest")),
                migrations.AddIndex(
                    "auditentry", models.Index(fields=["team_id", "-at", "-id"], name="audit_newest_of_team")
                ),
            ],
        ),
        migrations.RunPython(_chain_what_was_there, migrations.RunPython.noop),
        migrations.RunSQL(_GUARD, migrations.RunSQL.noop),
    ]
