"""Every address. They are a contract: documented, tested, changed only with a line in the changelog."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path, re_path
from django.views.generic import RedirectView

from frontend import (
    access,
    api,
    diff_pages,
    export_pages,
    feed_pages,
    graph_pages,
    host_pages,
    metrics_door,
    pages,
    risk_pages,
    vulnerability_pages,
    webhook_pages,
)
from frontend.api_v1 import api as api_v1
from frontend.api_v1 import docs, no_such_address

admin.autodiscover()

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="overview")),
    path("healthz", pages.healthz, name="healthz"),
    path("metrics", metrics_door.metrics, name="metrics"),
    path("sign-in/", LoginView.as_view(template_name="frontend/sign_in.html"), name="sign-in"),
    path("sign-in/<str:text>/", access.use_sign_in_link, name="sign-in-link"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("theme/", pages.theme, name="theme"),
    path("security/", host_pages.hosts, name="overview"),
    path("security/hosts/export/<str:name>/", export_pages.export_hosts, name="export-hosts"),
    path("security/hosts/act/", host_pages.act, name="hosts-act"),
    path("security/package-scanner/", pages.dashboard, name="dashboard"),
    path("security/package-scanner/tags/", pages.tags, name="host-tags"),
    path("security/package-scanner/run/", api.run, name="run"),
    path("security/package-scanner/scan/<int:pk>/", pages.scan, name="scan"),
    path("security/package-scanner/scan/<int:pk>/cancel/", api.cancel, name="cancel"),
    path("security/package-scanner/scan/<int:pk>/export/<str:name>/", export_pages.export_scan, name="export-scan"),
    path("security/package-scanner/scan/<int:pk>/graph/", graph_pages.graph, name="graph"),
    path("security/package-scanner/scan/<int:pk>/graph/data/", graph_pages.graph_data, name="graph-data"),
    path("security/package-scanner/diff/", diff_pages.compare, name="diff"),
    path("security/package-scanner/diff/export/<str:name>/", export_pages.export_diff, name="export-diff"),
    path("security/feeds/", feed_pages.feeds, name="feeds"),
    path("security/feeds/refresh/", feed_pages.refresh, name="refresh-feeds"),
    path("security/risks/", risk_pages.risks, name="accepted-risks"),
    path("security/risks/new/", risk_pages.accept, name="accept-risk"),
    path("security/risks/<int:pk>/withdraw/", risk_pages.withdraw, name="withdraw-risk"),
    path("security/package-scanner/cve/<str:name>/", vulnerability_pages.cve, name="cve"),
    path("security/package-scanner/cve/<str:cve>/export/<str:name>/", export_pages.export_places, name="export-places"),
    path("security/package-scanner/package/<str:name>/", vulnerability_pages.package, name="package"),
    path("security/webhooks/", webhook_pages.webhooks, name="webhooks"),
    path("security/webhooks/new/", webhook_pages.new, name="webhook-new"),
    path("security/webhooks/filter/", webhook_pages.check_filter, name="webhook-filter"),
    path("security/webhooks/test/", webhook_pages.test, name="webhook-try"),
    path("security/webhooks/<int:pk>/", webhook_pages.webhook, name="webhook"),
    path("security/webhooks/<int:pk>/edit/", webhook_pages.edit, name="webhook-edit"),
    path("security/webhooks/<int:pk>/delete/", webhook_pages.delete, name="webhook-delete"),
    path("security/webhooks/<int:pk>/switch/", webhook_pages.switch, name="webhook-switch"),
    path("security/webhooks/<int:pk>/rotate/", webhook_pages.rotate, name="webhook-rotate"),
    path("security/webhooks/<int:pk>/test/", webhook_pages.test_saved, name="webhook-test"),
    path("security/webhooks/deliveries/", webhook_pages.deliveries, name="deliveries"),
    path("security/webhooks/deliveries/<int:pk>/", webhook_pages.delivery, name="delivery"),
    path("security/webhooks/deliveries/<int:pk>/redeliver/", webhook_pages.redeliver, name="redeliver"),
    path("security/webhooks/events/<str:pk>/", webhook_pages.event, name="event"),
    path("security/webhooks/events/<str:pk>/replay/", webhook_pages.replay, name="event-replay"),
    path("api/v1/docs", docs, name="api-docs"),
    path("api/v1/", api_v1.urls),
    re_path(r"^api/v1/", no_such_address),
    path("api/security/package-scanner/widget/", api.widget, name="api-widget"),
    path("api/security/package-scanner/state/", api.state, name="api-state"),
    path("api/security/package-scanner/scan/<int:pk>/", api.scan_document, name="api-scan"),
    path("api/security/package-scanner/diff/", diff_pages.api_compare, name="api-diff"),
    path("admin/r/<path:content_type_id>/<path:object_id>/", access.view_on_site),
    path("admin/", admin.site.urls),
]
admin.site.site_header = admin.site.site_title = "Package security scanner"
