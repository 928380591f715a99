"""Who is scanned."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone

from scanner import risk

if TYPE_CHECKING:
    from scanner.models.scan import Scan


class HostQuerySet(models.QuerySet["Host"]):
    def named(self, name: str, **defaults: Any) -> "Host":
        return self.get_or_create(name=name, defaults=defaults)[0]

    def local(self) -> "Host":
        """The host that this process runs on."""
        return self.named(settings.SCAN_HOST)


class Tag(models.Model):
    """A word that hosts are grouped by: prod, database, berlin."""

    name = models.CharField(
        max_length=50, unique=True, validators=[RegexValidator(r"^[\w.:-]+\Z", "Letters, digits and . : _ - only.")]
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Host(models.Model):
    """A machine, or another root that somebody scans under a name. Its own worker consumes the queue `host.NAME`."""

    name = models.CharField(max_length=200, unique=True)
    scheduled = models.BooleanField(
        default=True, help_text="Whether periodic scans include it. They need a worker that consumes its queue."
    )
    tags = models.ManyToManyField(Tag, blank=True, related_name="hosts")
    current = models.ForeignKey(
        "Scan", on_delete=models.SET_NULL, null=True, editable=False, related_name="+", help_text="Newest with counts."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = HostQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return f"{reverse('dashboard')}?host={self.name}"

    @property
    def queue(self) -> str:
        return f"host.{self.name}"

    @property
    def tag_names(self) -> list[str]:
        return sorted(tag.name for tag in self.tags.all())

    def set_tags(self, names: Iterable[str]) -> None:
        """Exactly these. Raises ValidationError, naming the first that cannot be a tag; then nothing is changed."""
        with transaction.atomic():
            tags = []
            for name in dict.fromkeys(names):
                tag = Tag.objects.filter(name=name).first() or Tag(name=name)
                if tag.pk is None:
                    tag.full_clean()
                    tag.save()
                tags.append(tag)
            self.tags.set(tags)

    def last_scan(self) -> "Scan | None":
        return self.scans.ended().first()

    def last_good_scan(self) -> "Scan | None":
        """The newest scan with counts: what the dashboard stands on, even after a later one has failed."""
        return self.scans.with_counts().first()

    def active_scan(self) -> "Scan | None":
        return self.scans.active().first()

    def level(self) -> risk.Level:
        """How the host stands now: its last good scan, unless what that scan knew has become too old."""
        scan = self.last_good_scan()
        return scan.level_at(timezone.now()) if scan else risk.UNKNOWN
