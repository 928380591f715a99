"""What Prometheus is told, read from the database at each scrape: whichever web process answers says the same.

Nothing is counted in a process, so everything is a gauge. What is unknown has no sample, and never a zero. The text is
written here, since prometheus_client takes some seconds for the 200,000 samples of 10,000 hosts.
"""

import platform
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Count, F, FloatField, Func, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.lookups import In
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_results.models import TaskResult
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from scanner import risk, run_time
from scanner.models import Attempt, Delivery, Event, Feed, Host, OpenUpdate, PackageSet, Scan, Update, Webhook
from scanner.models.finding import in_chunks
from scanner.models.host import HostQuerySet
from scanner.vulnerabilities import exposure, feeds

VERSION = "0.1.0"  # as in pyproject.toml, which an image does not have
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
STATUSES = ("secure", "unknown", "low", "medium", "high")
"""risk.Level.severity; the place of each is the value of package_host_status. The higher the worse, as the overview
sorts them."""
OUTCOMES = {"SUCCESS": "succeeded", "FAILURE": "failed"}  # of tasks, in Celery's words
NOT_OFFERED = ("pinned", "phased", "excluded")
"""Updates that the package manager itself does not list as available, nor do the scripts whose names we share."""
BROKER_PATIENCE = 2  # seconds
QUEUES_A_QUESTION = 500


class Family(NamedTuple):
    """What all samples of one name have in common. docs/monitoring/README.md lists every one."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


HOST, COUNTED = ("host",), ("host", "package_manager")
FAMILIES = (
    # --- of each host
    Family("package_host_status", "How the host stands: 0 secure, 1 unknown, 2 low, 3 medium, 4 high risk.", HOST),
    Family("package_host_info", "What the host is, by its last scan; always 1.", (*COUNTED, "distribution")),
    Family("package_security_updates", "Security updates that the host would install.", COUNTED),
    Family("package_total_updates", "All updates that the host would install.", COUNTED),
    Family("package_pinned_security_updates", "Security fixes that a pin keeps away.", COUNTED),
    Family("package_security_updates_late", "Security updates that have waited for longer than the target.", COUNTED),
    Family(
        "package_oldest_security_update_seconds",
        "For how long the oldest waiting security update has been available to the host; 0: none waits.",
        COUNTED,
    ),
    Family("package_installed", "Installed packages.", COUNTED),
    Family("package_last_scan_timestamp", "When the last scan with counts ended, in seconds since 1970.", COUNTED),
    Family("package_scan_duration_seconds", "How long the last scan with counts took.", HOST),
    Family("package_scan_partial", "1 where the last scan with counts could not read everything.", HOST),
    Family("package_last_scan_failed", "1 where the last scan that was not cancelled failed.", HOST),
    Family("package_known_exploited_cves", "CVEs of installed packages that are known to be exploited.", HOST),
    Family("package_vulnerabilities", "CVEs of installed packages, by the status of their fix.", (*HOST, "status")),
    Family("package_unknown", "1 for each number of the host that is not known.", (*HOST, "what")),
    Family("node_reboot_required", "Node reboot is required for software updates.", HOST),
    Family("apt_upgrades_pending", "Apt packages pending updates by origin.", (*HOST, "origin", "arch")),
    Family("yum_upgrades_pending", "Yum package pending updates by origin.", (*HOST, "origin")),
    Family("pacman_updates_pending", "Number of pending updates from pacman.", HOST),
    # --- of all hosts
    Family("package_hosts", "Hosts by status.", ("status",)),
    Family("package_security_update_target_seconds", "Within which a security update should be installed."),
    Family("package_scans_last_day", "Scans that were asked for in the last 24 hours, by state.", ("state",)),
    # --- of what feeds tell
    Family("package_feed_wanted", "1 for a feed that is kept fresh.", ("feed",)),
    Family("package_feed_age_seconds", "How old what the feed says is; none where it was never read.", ("feed",)),
    Family("package_feed_rows", "Entries of the feed that are kept.", ("feed",)),
    Family("package_feed_error", "1 where the last attempt to read the feed failed.", ("feed",)),
    # --- of what is sent
    Family("package_webhooks", "Webhooks by state.", ("kind", "state")),
    Family("package_webhook_deliveries_last_day", "Deliveries that are not a day old, by state.", ("kind", "state")),
    Family("package_webhook_attempts_last_hour", "Tries to send in the last hour, by outcome.", ("kind", "outcome")),
    Family("package_webhook_deliveries_waiting", "Deliveries that have not ended, by state.", ("kind", "state")),
    Family(
        "package_webhook_deliveries_overdue_seconds",
        "For how long the oldest delivery that may be sent has been due; 0: none is.",
        ("kind",),
    ),
    Family("package_events_waiting", "Events that have not been turned into deliveries yet."),
    Family("package_events_waiting_seconds", "For how long the oldest of them has waited; 0: none does."),
    # --- of the scanner itself
    Family("package_scanner_build_info", "What runs here; always 1.", ("version", "python")),
    Family("package_broker_up", "1 where Redis answers."),
    Family("package_queue_length", "Tasks that no worker has taken yet; hosts: of all hosts' queues.", ("queue",)),
    Family("package_tasks_last_hour", "Tasks that ended in the last hour, by outcome.", ("task", "outcome")),
    Family("package_tasks_last_hour_seconds", "How long these tasks took, added up.", ("task",)),
    Family("package_beat_last_run_timestamp_seconds", "When beat last sent a periodic task, in seconds since 1970."),
)


class Samples:
    """Lines of text, by family."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {family.name: [] for family in FAMILIES}

    def add(self, name: str, value: float | None, **labels: str) -> None:
        """What is unknown is left out."""
        if labels:
            self.put(name, labelled(**labels), value)
        elif value is not None:
            self.lines[name].append(f"{name} {value}\n")

    def put(self, name: str, labels: str, value: float | None) -> None:
        """The same with labels as text, for what is said of each host."""
        if value is not None:
            self.lines[name].append(f"{name}{{{labels}}} {value}\n")

    def text(self, openmetrics: bool = False) -> str:
        """The text format 0.0.4, or OpenMetrics 1.0.0: of gauges they say the same, but for the end."""
        return "".join(self.parts()) + ("# EOF\n" if openmetrics else "")

    def parts(self) -> Iterator[str]:
        for family in FAMILIES:
            if lines := self.lines[family.name]:
                yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} gauge\n"
                yield from lines


def labelled(**labels: str) -> str:
    """host="web-1",status="fixed" """
    return ",".join(f'{name}="{value.translate(ESCAPES)}"' for name, value in labels.items())


ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def collect(tasks: Collection[str], only: HostQuerySet | None = None) -> Samples:
    """All there is to say, or to say of some hosts. `tasks`: the names of those whose results are kept."""
    now = timezone.now()
    samples = Samples()
    known = {feed.name: feed for feed in Feed.objects.all()}
    hosts = read_hosts(Host.objects.all() if only is None else only)
    add_hosts(samples, hosts, now)
    add_vulnerabilities(samples, hosts, exploits_are_known="kev" in known and known["kev"].imported_at is not None)
    add_pending(samples, hosts)
    add_last_day(samples, hosts, now)
    if only is None:
        add_feeds(samples, hosts, known, now)
        add_webhooks(samples, now)
        add_queues(samples, hosts)
        add_tasks(samples, tasks, now)
    samples.add("package_scanner_build_info", 1, version=VERSION, python=platform.python_version())
    return samples


# --- hosts ------------------------------------------------------------------------------------------


Known = tuple[int, str, str | None, tuple[Any, ...], str]
"""A host: its id, its name, the state of its last scan that was not cancelled, COLUMNS and TIMES of its last scan with
counts (or nothing), and its label as text. Plain tuples, which cost Python's garbage collector nothing."""


class Epoch(Func):
    """A time in seconds since 1970: a database says that many times faster than Django reads a date."""

    output_field = FloatField()
    template = "EXTRACT(EPOCH FROM %(expressions)s)::float8"
    sqlite_template = "((julianday(%(expressions)s) - 2440587.5) * 86400)"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template=self.sqlite_template, **context)


class Among(In):
    """IN a long list, which Postgres gets as one array: 10,000 parameters would cost it more than their rows."""

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        left, parameters = self.process_lhs(compiler, connection)
        return f"{left} = ANY(%s)", [*parameters, list(self.rhs)]


COLUMNS = (
    *("state", "package_manager", "distribution", "snapshot", "snapshot__package_set"),
    *("security_updates", "total_updates", "total_packages", "pinned_security_updates", "reboot_required"),
)
TIMES = {"lists_of": Epoch("metadata_date"), "began": Epoch("started_at"), "ended": Epoch("finished_at")}
MANAGER, RELEASE, SNAPSHOT, PACKAGE_SET = 1, 2, 3, 4  # of COLUMNS
UNKNOWN: tuple[Any, ...] = (None,) * (len(COLUMNS) + len(TIMES))


def read_hosts(of: HostQuerySet) -> list[Known]:
    told = (*Scan.COUNTED, Scan.State.FAILED)
    last = Scan.objects.filter(host=OuterRef("pk"), state__in=told).order_by("-created_at").values("state")[:1]
    hosts = of.active().annotate(last_state=Subquery(last))
    rows = list(hosts.values_list("pk", "name", "last_state", "current"))
    scans = scans_of(current for *_, current in rows if current)
    return [
        (pk, name, last_state, scans.get(current, ()), labelled(host=name)) for pk, name, last_state, current in rows
    ]


def scans_of(ids: Iterable[int]) -> dict[int | None, tuple[Any, ...]]:
    """By id, since a join with the hosts would read every scan there is."""
    found: dict[int | None, tuple[Any, ...]] = {}
    for some in in_chunks(sorted(ids)):
        scans = Scan.objects.order_by().filter(Among(F("pk"), some)).annotate(**TIMES)
        found.update((row[-1], row[:-1]) for row in scans.values_list(*COLUMNS, *TIMES, "pk"))
    return found


def add_hosts(samples: Samples, hosts: Sequence[Known], now: datetime) -> None:
    max_age = timedelta(days=run_time.value("METADATA_MAX_AGE_DAYS"))
    waiting = {host: (late, oldest) for host, late, oldest in open_updates(now)}
    statuses: Counter[str] = Counter()
    put, at = samples.put, now.timestamp()
    for pk, _, last_state, scan, own in hosts:
        state, manager, release, _, _, security, total, packages, pinned, reboot, *times = scan or UNKNOWN
        lists_of, began, ended = times
        complete, listed = state == Scan.State.COMPLETED, datetime.fromtimestamp(lists_of, UTC) if lists_of else None
        level = risk.level(security, complete, listed, now, max_age)
        statuses[level.severity] += 1
        put("package_host_status", own, STATUSES.index(level.severity))
        if last_state:
            put("package_last_scan_failed", own, int(last_state == Scan.State.FAILED))
        if scan:
            counted = f'{own},package_manager="{manager}"'
            put("package_host_info", f"{counted},{labelled(distribution=release)}", 1)
            put("package_security_updates", counted, security)
            put("package_total_updates", counted, total)
            put("package_pinned_security_updates", counted, pinned)
            put("package_installed", counted, packages)
            put("package_scan_partial", own, int(not complete))
            if ended is not None:
                put("package_last_scan_timestamp", counted, int(ended))
                put("package_scan_duration_seconds", own, round(ended - (began or ended), 3))
            if security is not None:
                late, oldest = waiting.get(pk, (0, None))
                put("package_security_updates_late", counted, late)
                put("package_oldest_security_update_seconds", counted, max(0, int(at - oldest)) if oldest else 0)
            if reboot is not None:
                put("node_reboot_required", own, int(reboot))
        for number, label in zip((security, total, pinned, reboot), NUMBERS, strict=True):
            if number is None:
                put("package_unknown", f"{own},{label}", 1)
    for severity in STATUSES:
        samples.add("package_hosts", statuses[severity], status=severity)
    samples.add("package_security_update_target_seconds", seconds(exposure.target()))


NUMBERS = tuple(
    labelled(what=name) for name in ("security_updates", "total_updates", "pinned_security_updates", "reboot_required")
)


def open_updates(now: datetime) -> QuerySet[OpenUpdate, Any]:
    """By host: how many are late, and since when the oldest waits. With those whose risk somebody has accepted."""
    late = Count("pk", filter=Q(since__lt=now - exposure.target()))
    return OpenUpdate.objects.order_by().values_list("host").annotate(late=late, oldest=Epoch(Min("since")))


def add_vulnerabilities(samples: Samples, hosts: Sequence[Known], exploits_are_known: bool) -> None:
    exploited: dict[int, int] = {}  # by package set
    lines: dict[int, list[tuple[str, int]]] = {}
    for pk, tally in tallies({scan[PACKAGE_SET] for *_, scan, _ in hosts if scan}):
        exploited[pk] = tally.pop("exploited", 0)
        # a status that no CVE has is left out, but for the one that shows that they are known
        lines[pk] = [(labelled(status=status), number) for status, number in {"fixed": 0, **tally}.items()]
    for *_, scan, own in hosts:
        package_set = scan[PACKAGE_SET] if scan else None
        if package_set in lines:
            for labels, number in lines[package_set]:
                samples.put("package_vulnerabilities", f"{own},{labels}", number)
        else:
            samples.put("package_unknown", f'{own},what="vulnerabilities"', 1)
        if package_set in exploited and exploits_are_known:
            samples.put("package_known_exploited_cves", own, exploited[package_set])
        else:
            samples.put("package_unknown", f'{own},what="known_exploited_cves"', 1)


def tallies(package_sets: Collection[int]) -> Iterator[tuple[int, dict[str, int]]]:
    """How many CVEs have which status, and are exploited, where that is known."""
    for some in in_chunks(sorted(package_sets)):
        for pk, tally in PackageSet.objects.filter(Among(F("pk"), some)).values_list("pk", "tally"):
            if tally is not None:
                yield pk, tally


def add_pending(samples: Samples, hosts: Sequence[Known]) -> None:
    """What the textfile collectors of node_exporter call pending, by the same names, and with a host."""
    snapshots = {scan[SNAPSHOT]: scan[MANAGER] for *_, scan, _ in hosts if scan}
    found = pending(snapshots)
    lines = {pk: list(pending_lines(manager, found.get(pk, {}))) for pk, manager in snapshots.items()}
    for *_, scan, own in hosts:
        for name, labels, number in lines[scan[SNAPSHOT]] if scan else ():
            samples.put(name, f"{own}{labels}", number)


def pending(snapshots: Collection[int]) -> dict[int, dict[tuple[str, str], int]]:
    """By snapshot, then by origin and architecture."""
    found: dict[int, dict[tuple[str, str], int]] = defaultdict(Counter)
    for some in in_chunks(sorted(snapshots)):
        updates = Update.objects.filter(Among(F("snapshot_id"), some)).exclude(blocked__in=NOT_OFFERED).order_by()
        groups = updates.values_list("snapshot", "origins", "architecture").annotate(number=Count("pk"))
        for snapshot, origins, architecture, number in groups:
            found[snapshot][",".join(sorted(origins)), architecture] += number
    return found


def pending_lines(manager: str, updates: Mapping[tuple[str, str], int]) -> Iterator[tuple[str, str, int]]:
    """Family, labels after the host's, value. Like theirs: none is a zero without an origin."""
    if manager == "apt":
        for (origin, arch), number in (updates or {("", ""): 0}).items():
            yield "apt_upgrades_pending", f",{labelled(origin=origin, arch=arch)}", number
    elif manager in ("dnf", "yum"):
        for origin in sorted({origin for origin, _ in updates} or {""}):
            number = sum(number for (of, _), number in updates.items() if of == origin)
            yield "yum_upgrades_pending", f",{labelled(origin=origin)}", number
    elif manager == "pacman":
        yield "pacman_updates_pending", "", sum(updates.values())


def add_last_day(samples: Samples, hosts: Sequence[Known], now: datetime) -> None:
    numbers: Counter[str] = Counter()
    for some in in_chunks([pk for pk, *_ in hosts]):  # by host, since that is what the index of scans begins with
        recent = Scan.objects.order_by().filter(Among(F("host_id"), some), created_at__gt=now - DAY)
        numbers.update(dict(recent.values_list("state").annotate(number=Count("pk"))))
    for state in Scan.State.values:
        samples.add("package_scans_last_day", numbers[state], state=state)


# --- feeds ------------------------------------------------------------------------------------------


def add_feeds(samples: Samples, hosts: Sequence[Known], known: Mapping[str, Feed], now: datetime) -> None:
    # as importing.wanted_feeds, which would have to ask for what is known here
    releases = {scan[RELEASE] for *_, scan, _ in hosts if scan} - {""}
    wanted = feeds.needed(releases) if settings.FEEDS == ["auto"] else settings.FEEDS
    for listed in feeds.FEEDS:
        name = listed.name
        samples.add("package_feed_wanted", int(name in wanted), feed=name)
        if feed := known.get(name):
            at = known_at(feed)
            samples.add("package_feed_error", int(bool(feed.error)), feed=name)
            samples.add("package_feed_age_seconds", seconds(now - at) if at else None, feed=name)
            samples.add("package_feed_rows", feed.rows if feed.imported_at else None, feed=name)


def known_at(feed: Feed) -> datetime | None:
    """As of when it says what it says, as on the page of feeds: an "unchanged" is news from its publisher only."""
    if feed.error or settings.FEED_SOURCES.get(feed.name):
        return feed.imported_at
    return feed.checked_at if feed.imported_at else None


# --- what is sent -----------------------------------------------------------------------------------


def add_webhooks(samples: Samples, now: datetime) -> None:
    deliveries = Delivery.objects.order_by()
    recent, waiting = deliveries.filter(created_at__gt=now - DAY), deliveries.filter(state__in=Delivery.OPEN)
    webhooks = counted_by(Webhook.objects.order_by(), "kind", "state")
    kinds = sorted({kind for kind, _ in webhooks})
    for name, states, numbers in (
        ("package_webhooks", Webhook.State.values, webhooks),
        ("package_webhook_deliveries_last_day", Delivery.State.values, counted_by(recent, "webhook__kind", "state")),
        ("package_webhook_deliveries_waiting", Delivery.OPEN, counted_by(waiting, "webhook__kind", "state")),
    ):
        for kind, state in product(kinds, states):
            samples.add(name, numbers.get((kind, state), 0), kind=kind, state=state)
    attempts = Attempt.objects.order_by().filter(started_at__gt=now - HOUR)
    tries = counted_by(attempts, "delivery__webhook__kind", "ok")
    for kind, (outcome, ok) in product(kinds, (("succeeded", True), ("failed", False))):
        samples.add("package_webhook_attempts_last_hour", tries.get((kind, ok), 0), kind=kind, outcome=outcome)
    due = Delivery.objects.due().order_by().values_list("webhook__kind")
    since = dict(due.annotate(since=Min("next_attempt_at")))
    for kind in kinds:
        samples.add("package_webhook_deliveries_overdue_seconds", seconds(now - since.get(kind, now)), kind=kind)
    events = Event.objects.waiting().aggregate(number=Count("pk"), oldest=Min("created_at"))
    samples.add("package_events_waiting", events["number"])
    samples.add("package_events_waiting_seconds", seconds(now - (events["oldest"] or now)))


def counted_by(rows: QuerySet[Any], *columns: str) -> dict[tuple[Any, ...], int]:
    return {tuple(group): number for *group, number in rows.values_list(*columns).annotate(number=Count("pk"))}


# --- the scanner itself -----------------------------------------------------------------------------


def add_queues(samples: Samples, hosts: Sequence[Known]) -> None:
    try:
        lengths = queue_lengths([f"host.{name}" for _, name, *_ in hosts])  # Host.queue
    except (RedisError, OSError):
        samples.add("package_broker_up", 0)
        return
    samples.add("package_broker_up", 1)
    for queue, length in lengths.items():
        samples.add("package_queue_length", length, queue=queue)


def queue_lengths(names: Sequence[str]) -> dict[str, int]:
    """By label. A queue is a list of Redis, and an empty list is no key: most hosts' need not be asked for theirs."""
    once = Retry(NoBackoff(), 0)
    parts = [names[at : at + QUEUES_A_QUESTION] for at in range(0, len(names), QUEUES_A_QUESTION)]
    patience = {"socket_connect_timeout": BROKER_PATIENCE, "socket_timeout": BROKER_PATIENCE, "retry": once}
    with Redis.from_url(settings.REDIS_URL, **patience) as redis, redis.pipeline(transaction=False) as questions:
        questions.llen("central").llen("webhooks")
        for part in parts:
            questions.exists(*part)
        central, webhooks, *filled = questions.execute()
        for part, number in zip(parts, filled, strict=True):
            for name in part if number else ():
                questions.llen(name)
        return {"central": central, "webhooks": webhooks, "hosts": sum(questions.execute())}


def add_tasks(samples: Samples, tasks: Collection[str], now: datetime) -> None:
    ended = TaskResult.objects.order_by().filter(date_done__gt=now - HOUR, status__in=OUTCOMES, task_name__in=tasks)
    took = Sum(F("date_done") - F("date_started"))
    rows = ended.values_list("task_name", "status").annotate(number=Count("pk"), took=took)
    found = {(task, status): (number, took) for task, status, number, took in rows}
    for task in sorted(tasks):
        total = timedelta()
        for status, outcome in OUTCOMES.items():
            number, took_them = found.get((task, status), (0, None))
            total += took_them or timedelta()
            samples.add("package_tasks_last_hour", number, task=task, outcome=outcome)
        samples.add("package_tasks_last_hour_seconds", round(total.total_seconds(), 3), task=task)
    beat = PeriodicTask.objects.order_by("-last_run_at").exclude(last_run_at=None).first()
    if beat and beat.last_run_at:
        samples.add("package_beat_last_run_timestamp_seconds", int(beat.last_run_at.timestamp()))


def seconds(span: timedelta) -> int:
    return max(0, round(span.total_seconds()))
