import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('stores', '0003_personal_teams'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='store',
            name='store_name_free',
        ),
        migrations.RemoveIndex(
            model_name='store',
            name='store_newest_by_owner',
        ),
        migrations.RemoveField(
            model_name='store',
            name='owner',
        ),
        migrations.AlterField(
            model_name='store',
            name='team',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='stores', to='stores.team'),
        ),
        migrations.AddIndex(
            model_name='store',
            index=models.Index(fields=['team', '-created_at', '-id'], name='store_newest_by_team'),
        ),
        migrations.AddConstraint(
            model_name='store',
            constraint=models.UniqueConstraint(condition=models.Q(('status__in', ['deleting', 'deleted']), _negated=True), fields=('team', 'name'), name='store_name_free'),
        ),
    ]
