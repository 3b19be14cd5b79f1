"""Each owner of a store gets a team of their own, which gets their stores."""

from django.conf import settings
from django.db import migrations
from django.utils import timezone
from django.utils.text import slugify


def give_each_owner_a_team(apps, schema_editor):
    alias = schema_editor.connection.alias
    stores, teams, memberships = (
        apps.get_model('stores', name).objects.using(alias) for name in ('Store', 'Team', 'Membership')
    )
    users = apps.get_model(settings.AUTH_USER_MODEL).objects.using(alias)
    now = timezone.now()
    for user in users.filter(pk__in=stores.values('owner')).order_by('pk'):
        slug = slugify(user.username)[:20]
        if not slug or teams.filter(slug=slug).exists():
            slug = f"{slug or 'user'}-{user.pk}"
        team = teams.create(slug=slug, name=user.username[:80], personal_of=user, created_at=now)
        memberships.create(team=team, user=user, role='admin', created_at=now)
        stores.filter(owner=user).update(team=team)


class Migration(migrations.Migration):

    dependencies = [('stores', '0002_team')]

    operations = [migrations.RunPython(give_each_owner_a_team, migrations.RunPython.noop)]
