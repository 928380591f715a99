"""Decisions to live with a vulnerability for a while. They are shown wherever it is, and hide nothing."""

from collections.abc import Iterable

from django.db import models
from django.db.models import Exists, OuterRef, Q, Value
from django.urls import reverse
from django.utils import timezone

from scanner.models.access import Sight
from scanner.models.host import Host, Tag


class AcceptedRiskQuerySet(models.QuerySet["AcceptedRisk"]):
    def active(self) -> "AcceptedRiskQuerySet":
        return self.filter(withdrawn_at=None, until__gte=timezone.localdate())

    def expired(self) -> "AcceptedRiskQuerySet":
        return self.filter(withdrawn_at=None, until__lt=timezone.localdate())

    def withdrawn(self) -> "AcceptedRiskQuerySet":
        return self.exclude(withdrawn_at=None)

    def seen_by(self, sight: Sight) -> "AcceptedRiskQuerySet":
        """Those that hold everywhere, or for something that somebody sees; `beyond`: for something else as well."""
        if sight.tags is None:
            return self.annotate(beyond=Value(False))
        hosts = AcceptedRisk.hosts.through.objects.filter(acceptedrisk=OuterRef("pk"))
        tags = AcceptedRisk.tags.through.objects.filter(acceptedrisk=OuterRef("pk"))
        seen_tags = tags.filter(tag__in=Tag.objects.order_by().seen_by(sight).values("pk"))
        seen = Q(everywhere=True) | Exists(hosts.filter(sight.shows("host"))) | Exists(seen_tags)
        hidden = Exists(hosts.exclude(sight.shows("host"))) | Exists(tags.exclude(tag__in=list(sight.tags)))
        return self.filter(seen).annotate(
            beyond=models.ExpressionWrapper(Q(everywhere=True) | hidden, output_field=models.BooleanField())
        )

    def with_places_of(self, sight: Sight) -> "AcceptedRiskQuerySet":
        """With those of its hosts and tags that somebody sees."""
        hosts, tags = Host.objects.seen_by(sight), Tag.objects.seen_by(sight)
        return self.prefetch_related(models.Prefetch("hosts", hosts), models.Prefetch("tags", tags))

    def with_some_places_of(self, sight: Sight, number: int) -> "AcceptedRiskQuerySet":
        """The same where a risk may name 10,000 hosts: `some_hosts` are the first of them, `host_count` is how many."""
        hosts, tags = Host.objects.seen_by(sight), Tag.objects.seen_by(sight)
        counted = Q(hosts__in=hosts.order_by().values("pk")) if sight.limited else None
        first = models.Prefetch("hosts", hosts.order_by("name")[:number], to_attr="some_hosts")
        rows = self.annotate(host_count=models.Count("hosts", filter=counted, distinct=True))
        return rows.prefetch_related(first, models.Prefetch("tags", tags))

    def about(self, host: Host) -> list["AcceptedRisk"]:
        """Those that hold for a host now."""
        everywhere = models.Q(everywhere=True)
        tagged = models.Q(tags__in=host.tags.all())
        return list(self.active().filter(everywhere | models.Q(hosts=host) | tagged).distinct())


class AcceptedRisk(models.Model):
    """A CVE, or all that is open in a package, on hosts or tags or everywhere, until the end of a day."""

    cve = models.CharField("CVE", max_length=30, blank=True)
    package = models.CharField(max_length=255, blank=True, help_text="With a CVE: only in this package.")
    everywhere = models.BooleanField(default=False, help_text="On every host, those to come as well.")
    hosts = models.ManyToManyField(Host, blank=True, related_name="accepted_risks")
    tags = models.ManyToManyField(Tag, blank=True, related_name="accepted_risks")
    reason = models.TextField()
    until = models.DateField(help_text="The last day on which it holds.")
    accepted_by = models.CharField(max_length=150, editable=False)
    accepted_at = models.DateTimeField(default=timezone.now, editable=False)
    withdrawn_by = models.CharField(max_length=150, blank=True, editable=False)
    withdrawn_at = models.DateTimeField(null=True, editable=False)

    objects = AcceptedRiskQuerySet.as_manager()

    class Meta:
        ordering = ["-accepted_at"]
        permissions = [("accept_risk", "Can accept risks, and withdraw that")]
        constraints = [
            models.CheckConstraint(condition=~models.Q(cve="", package=""), name="a_risk_is_about_something"),
        ]
        indexes = [models.Index(fields=["until"], condition=models.Q(withdrawn_at=None), name="risks_that_may_hold")]

    def __str__(self) -> str:
        return f"{self.cve} in {self.package}" if self.cve and self.package else self.cve or self.package

    def get_absolute_url(self) -> str:
        return f"{reverse('accepted-risks')}?risk={self.pk}#risk-{self.pk}"

    def covers(self, cve: str, packages: Iterable[str]) -> bool:
        """Whether it is about this CVE in a package that goes by these names, of the binary and of the source."""
        return self.cve in ("", cve) and (not self.package or self.package in packages)

    @property
    def holds(self) -> bool:
        return self.withdrawn_at is None and self.until >= timezone.localdate()

    def withdraw(self, by: str) -> bool:
        """False if somebody else was first."""
        fields = {"withdrawn_at": timezone.now(), "withdrawn_by": by}
        return bool(AcceptedRisk.objects.filter(pk=self.pk, withdrawn_at=None).update(**fields))
