"""Every address of the service. Other apps are named by string: nothing here may import them."""

from django.contrib import admin
from django.urls import include, path
from django.utils.module_loading import import_string
from drf_spectacular.views import SpectacularAPIView
from rest_framework.routers import DefaultRouter

from clinic import hooks, preferences, probes, views
from clinic.api.views import Docs

api = DefaultRouter()
for part in ("clinic.api.views", "scheduling.api.views", "followup.api.views"):
    api.registry.extend(import_string(f"{part}.router").registry)

urlpatterns = [
    path("", views.home, name="home"),
    path("hooks/mail/", hooks.mail_events, name="mail-events"),
    path("p/<str:token>/", preferences.enter, name="preferences"),
    path("p/<str:token>/stop/<str:category>/", preferences.one_click, name="one-click"),
    path("p/<str:slot>/messages/", preferences.page, name="preferences-page"),
    path("livez", probes.livez, name="livez"),
    path("readyz", probes.readyz, name="readyz"),
    path("healthz", probes.healthz, name="healthz"),
    path("metrics", probes.figures, name="metrics"),
    path("demo/inbox/", views.inbox, name="demo-inbox"),
    path("demo/inbox/<str:key>/", views.inbox_mail, name="demo-mail"),
    path("admin/", admin.site.urls),
    path("s/", include("followup.urls")),
    path("api/v1/", include(api.urls)),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", Docs.as_view(), name="api-docs"),
    path("", include("scheduling.urls")),
]

handler400, handler403, handler404, handler500 = views.bad_request, views.forbidden, views.not_found, views.failed
