"""A daily scan at 02:00 in the configured time zone. It can be edited, switched off or added to in the admin."""

from django.conf import settings
from django.db import migrations


def add_daily_scan(apps, schema_editor):
    crontab, _ = apps.get_model("django_celery_beat", "CrontabSchedule").objects.get_or_create(
        minute="0", hour="2", day_of_week="*", day_of_month="*", month_of_year="*", timezone=settings.TIME_ZONE
    )
    apps.get_model("django_celery_beat", "PeriodicTask").objects.get_or_create(
        name="Daily scan",
        defaults={
            "task": "tasks.scans.scan_hosts",
            "crontab": crontab,
            "description": "Scans every host that periodic scans include.",
        },
    )


class Migration(migrations.Migration):
    dependencies = [("scanner", "0001_initial"), ("django_celery_beat", "0019_alter_periodictasks_options")]
    operations = [migrations.RunPython(add_daily_scan, migrations.RunPython.noop)]
