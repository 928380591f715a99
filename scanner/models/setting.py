"""What has been chosen while it runs, in place of what the environment says."""

from django.db import models


class Setting(models.Model):
    """One of scanner.run_time.SETTINGS. Without a row what the environment says holds."""

    name = models.CharField(max_length=50, primary_key=True)
    value = models.PositiveIntegerField()
    chosen_by = models.CharField(max_length=250)
    chosen_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
