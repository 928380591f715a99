"""What becomes of the delivery log and of the audit log with time."""

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from scanner import audit, run_time
from scanner.models import Attempt, Delivery, Event

ROWS_A_STATEMENT = 5000


def prune() -> dict[str, int]:
    """Drop bodies and headers after WEBHOOK_LOG_BODY_DAYS, rows after WEBHOOK_LOG_DAYS, audit entries after AUDIT_DAYS.

    What still waits is kept.
    """
    now = timezone.now()
    bodies_before = now - timedelta(days=run_time.value("WEBHOOK_LOG_BODY_DAYS"))
    rows_before = now - timedelta(days=run_time.value("WEBHOOK_LOG_DAYS"))
    ended = Delivery.objects.exclude(state__in=Delivery.OPEN)
    ended.filter(created_at__lt=bodies_before).exclude(body="").update(body="")
    old_attempts = Attempt.objects.filter(started_at__lt=bodies_before)
    old_attempts.exclude(request_headers={}, response_headers={}, response_body="").update(
        request_headers={}, response_headers={}, response_body=""
    )
    return {
        "deliveries": delete(ended.filter(created_at__lt=rows_before)),
        "events": delete(Event.objects.filter(created_at__lt=rows_before, deliveries=None)),
        "audit entries": delete(audit.too_old()),
    }


def delete(rows: "QuerySet[Any]") -> int:
    """In pieces, so that no transaction is long."""
    total = 0
    while ids := list(rows.order_by().values_list("pk", flat=True)[:ROWS_A_STATEMENT]):
        rows.model._default_manager.filter(pk__in=ids).delete()
        total += len(ids)
    return total
