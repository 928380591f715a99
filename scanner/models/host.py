"""Who is scanned."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models import Case, Q, Value, When
from django.urls import reverse
from django.utils import timezone

from scanner import risk, run_time

if TYPE_CHECKING:
    from scanner.models.access import Sight
    from scanner.models.scan import Scan


OF_CURRENT = (
    *("snapshot", "state", "package_manager", "distribution", "security_updates", "total_updates"),
    *("metadata_date", "finished_at"),
)
"""What a host keeps of its current scan, as current_snapshot and so on."""


class HostQuerySet(models.QuerySet["Host"]):
    def named(self, name: str, **defaults: Any) -> "Host":
        return self.get_or_create(name=name, defaults=defaults)[0]

    def local(self) -> "Host":
        """The host that this process runs on."""
        return self.named(settings.SCAN_HOST)

    def active(self) -> "HostQuerySet":
        """Those that lists and counts are about: not archived."""
        return self.filter(archived_at=None)

    def seen_by(self, sight: "Sight") -> "HostQuerySet":
        return self.filter(sight.shows("pk"))

    def with_severity(self, at: datetime) -> "HostQuerySet":
        """`severity` is that of current.level_at(at), and unknown without a scan."""
        return self.annotate(severity=severity_at(at))

    def stand_on(self, scan: "Scan") -> None:
        """The scan is the newest with counts of its host."""
        copies = {f"current_{name}": getattr(scan, name) for name in OF_CURRENT}
        self.filter(pk=scan.host_id).update(current=scan, **copies)

    def archive(self) -> int:
        return self.active().update(archived_at=timezone.now())

    def bring_back(self) -> int:
        return self.exclude(archived_at=None).update(archived_at=None)

    def add_tags(self, names: Iterable[str]) -> None:
        """Besides those that they have. Raises ValidationError as set_tags does."""
        with transaction.atomic():
            tags = Tag.objects.all_named(names)
            pks = list(self.order_by().values_list("pk", flat=True))
            Host.tags.through.objects.bulk_create(
                [Host.tags.through(host_id=pk, tag_id=tag.pk) for tag in tags for pk in pks],
                ignore_conflicts=True,
                batch_size=1000,
            )

    def remove_tags(self, names: Iterable[str]) -> None:
        Host.tags.through.objects.filter(host__in=self.order_by().values("pk"), tag__name__in=list(names)).delete()


def by_level(at: datetime, values: Mapping[str, Any]) -> Case:
    """The rule of risk.level in SQL: the value for the severity that a host's current scan means at that time."""
    oldest = at - timedelta(days=run_time.value("METADATA_MAX_AGE_DAYS"))
    lists_too_old = Q(current_metadata_date=None) | Q(current_metadata_date__lt=oldest)
    cannot_say = Q(current_security_updates=0) & ~Q(current_state="completed")
    unknown = Value(values[risk.UNKNOWN.severity])
    levels = (
        When(current_security_updates__gte=least, then=Value(values[each.severity])) for least, each in risk.RISK_LEVELS
    )
    return Case(When(lists_too_old | cannot_say, then=unknown), *levels, default=unknown)


def severity_at(at: datetime) -> Case:
    return by_level(
        at, {each.severity: each.severity for each in (risk.UNKNOWN, *(each for _, each in risk.RISK_LEVELS))}
    )


def stand_on_nothing(collector: Any, field: Any, hosts: Any, using: str) -> None:
    """When the current scan is deleted: nothing is known, until the next one."""
    for name in ("current", *(f"current_{name}" for name in OF_CURRENT)):
        copy = field.model._meta.get_field(name)
        collector.add_field_update(copy, None if copy.null else "", hosts)


class TagQuerySet(models.QuerySet["Tag"]):
    def all_named(self, names: Iterable[str]) -> "list[Tag]":
        """One for each name, made where there is none. Raises ValidationError for the first that cannot be a tag."""
        tags = []
        for name in dict.fromkeys(names):
            tag = self.filter(name=name).first() or Tag(name=name)
            if tag.pk is None:
                tag.full_clean()
                tag.save()
            tags.append(tag)
        return tags

    def deciding(self) -> "TagQuerySet":
        """Those that decide who sees which hosts."""
        return self.filter(Q(limits__isnull=False) | Q(tokens__revoked_at=None, tokens__limited=True)).distinct()

    def seen_by(self, sight: "Sight") -> "TagQuerySet":
        """Those of the hosts that somebody sees, and those by which they are seen."""
        if sight.tags is None:
            return self
        carried = Host.tags.through.objects.filter(host__in=Host.objects.order_by().seen_by(sight).values("pk"))
        return self.filter(Q(pk__in=carried.values("tag")) | Q(pk__in=list(sight.tags)))


class Tag(models.Model):
    """A word that hosts are grouped by: prod, database, berlin."""

    name = models.CharField(
        max_length=50, unique=True, validators=[RegexValidator(r"^[\w.:-]+\Z", "Letters, digits and . : _ - only.")]
    )

    objects = TagQuerySet.as_manager()

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
        "Scan", on_delete=stand_on_nothing, null=True, editable=False, related_name="+", help_text="Newest with counts."
    )
    # Of that scan, since lists of 10,000 hosts cannot look each of them up among a million scans.
    current_snapshot = models.ForeignKey(
        "Snapshot", on_delete=models.SET_NULL, null=True, editable=False, related_name="hosts"
    )
    current_state = models.CharField(max_length=10, blank=True, editable=False)
    current_package_manager = models.CharField(max_length=20, blank=True, editable=False)
    current_distribution = models.CharField(max_length=40, blank=True, editable=False)
    current_security_updates = models.PositiveIntegerField(null=True, editable=False)
    current_total_updates = models.PositiveIntegerField(null=True, editable=False)
    current_metadata_date = models.DateTimeField(null=True, editable=False)
    current_finished_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    archived_at = models.DateTimeField(
        null=True, editable=False, help_text="Since when it is in no list or count, and not scanned periodically."
    )

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
            self.tags.set(Tag.objects.all_named(names))

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
