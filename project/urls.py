"""Every address. They are a contract: documented, tested, changed only with a line in the changelog."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from django.views.generic import RedirectView

from frontend import access, api, pages

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="overview")),
    path("healthz", pages.healthz, name="healthz"),
    path("sign-in/", LoginView.as_view(template_name="frontend/sign_in.html"), name="sign-in"),
    path("sign-in/<str:text>/", access.use_sign_in_link, name="sign-in-link"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("theme/", pages.theme, name="theme"),
    path("security/", pages.overview, name="overview"),
    path("security/package-scanner/", pages.dashboard, name="dashboard"),
    path("security/package-scanner/run/", api.run, name="run"),
    path("security/package-scanner/scan/<int:pk>/", pages.scan, name="scan"),
    path("security/package-scanner/scan/<int:pk>/cancel/", api.cancel, name="cancel"),
    path("api/security/package-scanner/widget/", api.widget, name="api-widget"),
    path("api/security/package-scanner/state/", api.state, name="api-state"),
    path("api/security/package-scanner/scan/<int:pk>/", api.scan_document, name="api-scan"),
    path("admin/", admin.site.urls),
]
admin.site.site_header = admin.site.site_title = "Package security scanner"
