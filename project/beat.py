"""What Beat sends, and when: CELERY_BEAT_SCHEDULER."""

from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler


class Scheduler(DatabaseScheduler):
    """The schedules of the database, all of them.

    django-celery-beat reads only those whose hour is at most two away from now. One that was missed while Beat was away
    would wait for the next day, come two hours early then, and a second time at its hour.
    """

    def enabled_models(self) -> list[PeriodicTask]:
        return list(PeriodicTask.objects.enabled())
