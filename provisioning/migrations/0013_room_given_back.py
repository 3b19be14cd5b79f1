"""Stores that were cancelled, and what was made of them, count as what they are."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

_THERE = ("ready", "degraded", "updating")
_NEVER_BEGUN = ("requested", "provisioning")


def tell_the_wanting_apart(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    """Let those hold room that are there, and have the cluster asked when others of them are deleted."""
    wanting = apps.get_model("provisioning", "Placement").objects.filter(room="wanted")
    wanting.filter(store__status__in=_THERE).update(room="held")
    wanting.exclude(store__status__in=(*_THERE, *_NEVER_BEGUN)).update(room="given_back")


class Migration(migrations.Migration):
    dependencies = [("provisioning", "0012_capacity"), ("stores", "0008_webhooks")]

    operations = [
        migrations.RunPython(tell_the_wanting_apart, migrations.RunPython.noop, elidable=True),
        migrations.RemoveIndex(model_name="placement", name="placement_room_wanted"),
    ]
