"""One run over a host: its state, who asked for it, how far it is, what it counted."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Count, F, Min, Q
from django.urls import reverse
from django.utils import timezone

from scanner import risk, run_time
from scanner.models.host import Host
from scanner.models.snapshot import Package, Snapshot, Update, UpdateQuerySet

if TYPE_CHECKING:
    from scanner.models.access import Sight

HEARTBEAT_LIMIT = timedelta(seconds=30)  # a running scan saves a sign of life every second
ATTEMPTS = 3  # a scan that kills its worker must not come back for ever


class ScanQuerySet(models.QuerySet["Scan"]):
    def seen_by(self, sight: "Sight") -> "ScanQuerySet":
        return self.filter(sight.shows("host"))

    def active(self) -> "ScanQuerySet":
        return self.filter(state__in=Scan.ACTIVE)

    def ended(self) -> "ScanQuerySet":
        return self.exclude(state__in=Scan.ACTIVE)

    def with_counts(self) -> "ScanQuerySet":
        return self.filter(state__in=Scan.COUNTED)

    def outdated(self, at: datetime) -> "ScanQuerySet":
        """Those whose package lists are too old for a verdict at that time."""
        return self.with_counts().filter(metadata_date__lt=at - timedelta(days=run_time.value("METADATA_MAX_AGE_DAYS")))

    def request(self, host: Host, **fields: Any) -> tuple["Scan", bool]:
        """A new scan of the host, or the one that is under way already; and whether it is new."""
        while True:
            try:
                with transaction.atomic():
                    return self.create(host=host, **fields), True
            except IntegrityError:
                if active := host.active_scan():  # else it ended between the two statements: ask again
                    return active, False

    def silent(self) -> "ScanQuerySet":
        """Those whose worker has vanished."""
        return self.filter(state=Scan.State.RUNNING, heartbeat_at__lt=timezone.now() - HEARTBEAT_LIMIT)

    def untaken(self) -> "ScanQuerySet":
        """Those that no worker took in time."""
        limit = timedelta(seconds=settings.SCAN_QUEUE_LIMIT)
        return self.filter(state=Scan.State.QUEUED, created_at__lt=timezone.now() - limit)


class Scan(models.Model):
    """One scan. The row is the truth; what goes over the socket is a hint to look at it."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        PARTIAL = "partial"
        FAILED = "failed"
        CANCELLED = "cancelled"

    class Trigger(models.TextChoices):
        DASHBOARD = "dashboard", "dashboard"
        API = "api", "API"
        SCHEDULE = "schedule", "schedule"
        COMMAND_LINE = "command line", "command line"
        ADMIN = "admin", "admin"

    ACTIVE = (State.QUEUED, State.RUNNING)
    COUNTED = (State.COMPLETED, State.PARTIAL)

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="scans")
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    trigger = models.CharField(max_length=12, choices=Trigger)
    requested_by = models.CharField(max_length=150, blank=True, help_text="A user's or token's name as it was then.")

    # what was asked for
    wanted_package_manager = models.CharField(max_length=20, blank=True)
    root = models.CharField(max_length=500, blank=True)
    refresh = models.BooleanField(default=True)

    # how far it is
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    claim = models.UUIDField(null=True, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0)
    cancel_requested_at = models.DateTimeField(null=True)
    step = models.CharField(max_length=60, blank=True)
    percent = models.PositiveSmallIntegerField(default=0)
    detail = models.CharField(max_length=200, blank=True)

    # what came of it
    distribution = models.CharField(max_length=40, blank=True, help_text="The release, as feeds name it: debian:12")
    kernel = models.CharField(max_length=100, blank=True, help_text="That ran; empty for another root.")
    package_manager = models.CharField(max_length=20, blank=True)
    error = models.TextField(blank=True)
    next_step = models.TextField(blank=True)
    gaps = models.JSONField(default=list, help_text="What could not be read: a scan with gaps is partial.")
    notes = models.JSONField(default=list)
    metadata_date = models.DateTimeField(null=True)
    security_updates = models.PositiveIntegerField(null=True)
    total_updates = models.PositiveIntegerField(null=True)
    total_packages = models.PositiveIntegerField(null=True)
    pinned_security_updates = models.PositiveIntegerField(null=True)
    reboot_required = models.BooleanField(null=True)
    reboot_reason = models.TextField(blank=True)
    services_to_restart = models.JSONField(null=True, help_text="They still run on replaced libraries; null: unknown.")
    services_reason = models.TextField(blank=True)
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, null=True, related_name="scans")

    objects = ScanQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        permissions = [
            ("run_scan", "Can start and cancel scans"),
            ("manage_schedules", "Can make, change and delete schedules of scans"),
        ]
        indexes = [
            models.Index(fields=["host", "-created_at"]),
            models.Index(fields=["-created_at", "-id"], name="scans_newest_first"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["host"], condition=Q(state__in=["queued", "running"]), name="one_active_scan_a_host"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["completed", "partial"], total_updates__isnull=False)
                | Q(
                    ~Q(state__in=["completed", "partial"]),
                    security_updates=None,
                    total_updates=None,
                    total_packages=None,
                    snapshot=None,
                ),
                name="counts_only_when_known",
            ),
        ]

    def __str__(self) -> str:
        return f"Scan {self.pk} of {self.host}"

    def get_absolute_url(self) -> str:
        return reverse("scan", args=[self.pk])

    # --- what it says -----------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        return self.state in self.ACTIVE

    @property
    def killed_its_workers(self) -> bool:
        return self.active and self.attempts >= ATTEMPTS

    @property
    def has_counts(self) -> bool:
        return self.state in self.COUNTED

    @property
    def date(self) -> datetime:
        return self.finished_at or self.started_at or self.created_at

    @property
    def duration(self) -> timedelta | None:
        return self.finished_at - self.started_at if self.finished_at and self.started_at else None

    @property
    def level(self) -> risk.Level:
        return self.level_at(self.date)

    def level_at(self, at: datetime) -> risk.Level:
        return risk.level(
            self.security_updates,
            self.state == self.State.COMPLETED,
            self.metadata_date,
            at,
            timedelta(days=run_time.value("METADATA_MAX_AGE_DAYS")),
        )

    @property
    def updates(self) -> UpdateQuerySet:
        return Update.objects.filter(snapshot=self.snapshot_id) if self.snapshot_id else Update.objects.none()

    @property
    def packages(self) -> models.QuerySet[Package]:
        return self.snapshot.package_set.packages.all() if self.snapshot else Package.objects.none()

    # --- what happens to it -----------------------------------------------------------------------

    def take(self, redelivered: bool = False) -> bool:
        """Claim the scan for this process. A redelivered one is taken over from a worker that died with it: the
        broker hands a task out again only when its worker is gone."""
        states = self.ACTIVE if redelivered else (self.State.QUEUED,)
        now = timezone.now()
        claim = uuid.uuid4()
        return self.change(
            Q(state__in=states, attempts=self.attempts, attempts__lt=ATTEMPTS),
            state=self.State.RUNNING,
            claim=claim,
            attempts=F("attempts") + 1,
            started_at=now,
            heartbeat_at=now,
            step="",
            percent=0,
            detail="",
        )

    def change(self, only_if: Q, **fields: Any) -> bool:
        """Change the row if it still is as expected. False: somebody else was first, and nothing was changed."""
        if not Scan.objects.filter(only_if, pk=self.pk).update(**fields):
            return False
        self.refresh_from_db(fields=list(fields))
        return True

    def still_mine(self) -> Q:
        return Q(state=self.State.RUNNING, claim=self.claim)

    def fail(self, error: str, next_step: str = "", unless_alive: bool = False) -> bool:
        silent = Q(heartbeat_at__lt=timezone.now() - HEARTBEAT_LIMIT) if unless_alive else Q()
        return self.change(
            Q(state=self.state, claim=self.claim) & silent,
            state=self.State.FAILED,
            finished_at=timezone.now(),
            error=error,
            next_step=next_step,
        )

    def cancel(self) -> bool:
        """A queued scan ends at once; a running one when its worker sees the wish, within a second or two."""
        now = timezone.now()
        return self.change(
            Q(state=self.State.QUEUED), state=self.State.CANCELLED, finished_at=now, cancel_requested_at=now
        ) or self.change(Q(state=self.State.RUNNING), cancel_requested_at=now)


@dataclass(frozen=True)
class Changes:
    """What became of a host's open security updates with one scan: those that appeared, and those that are gone."""

    appeared: Sequence["OpenUpdate"] = ()
    resolved: Sequence["OpenUpdate"] = ()


class Waiting(NamedTuple):
    """The open updates of a host: since when the oldest waits, and how many have waited for too long."""

    oldest: datetime
    late: int


class OpenUpdateQuerySet(models.QuerySet["OpenUpdate"]):
    def seen_by(self, sight: "Sight") -> "OpenUpdateQuerySet":
        return self.filter(sight.shows("host"))

    def follow(self, scan: Scan, updates: Iterable[Any]) -> Changes:
        """Open what has appeared, close what is gone. A partial scan closes nothing: it may have overlooked it."""
        seen = {(update.name, update.architecture) for update in updates if update.security}
        known = {(row.name, row.architecture): row for row in self.filter(host=scan.host)}
        since = scan.started_at or timezone.now()
        appeared = [
            OpenUpdate(host=scan.host, name=name, architecture=architecture, since=since, first_scan=scan)
            for name, architecture in sorted(seen - known.keys())
        ]
        OpenUpdate.objects.bulk_create(appeared)
        gone = [row for key, row in known.items() if key not in seen] if scan.state == Scan.State.COMPLETED else []
        self.filter(pk__in=[row.pk for row in gone]).delete()
        return Changes(appeared, gone)

    def overdue(self, limit: timedelta) -> "OpenUpdateQuerySet":
        """Those that have waited for longer, and of which no event has told that yet."""
        return self.filter(since__lt=timezone.now() - limit, told_late_at=None)

    def oldest(self) -> "OpenUpdate | None":
        return self.order_by("since", "name").first()

    def of_each_host(self, late_since: datetime) -> dict[int, Waiting]:
        late = Count("pk", filter=Q(since__lt=late_since))
        rows = self.order_by().values_list("host").annotate(Min("since"), late=late)
        return {host: Waiting(oldest, number) for host, oldest, number in rows}


class OpenUpdate(models.Model):
    """Since when a host has been without a security update that it could have."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="open_updates", db_index=False)
    name = models.CharField(max_length=255)
    architecture = models.CharField(max_length=32)
    since = models.DateTimeField()
    told_late_at = models.DateTimeField(null=True, help_text="When an event said that it is late.")
    first_scan = models.ForeignKey(Scan, on_delete=models.SET_NULL, null=True, related_name="+")

    objects = OpenUpdateQuerySet.as_manager()

    class Meta:
        ordering = ["since", "name"]
        constraints = [
            models.UniqueConstraint(fields=["host", "name", "architecture"], name="one_row_an_open_update"),
        ]
        indexes = [models.Index(fields=["host", "since"], name="oldest_open_update_of_a_host")]

    def __str__(self) -> str:
        return f"{self.name} on {self.host}"
