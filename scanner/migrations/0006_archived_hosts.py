from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('scanner', '0005_findings'),
    ]

    operations = [
        migrations.AddField(
            model_name='host',
            name='archived_at',
            field=models.DateTimeField(editable=False, help_text='Since when it is in no list or count, and not scanned periodically.', null=True),
        ),
    ]
