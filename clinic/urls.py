"""Every address of the service."""

from django.contrib import admin
from django.urls import path

from clinic import views

urlpatterns = [
    path("", views.home, name="home"),
    path("livez", views.livez, name="livez"),
    path("readyz", views.readyz, name="readyz"),
    path("demo/inbox/", views.inbox, name="demo-inbox"),
    path("demo/inbox/<str:key>/", views.inbox_mail, name="demo-mail"),
    path("admin/", admin.site.urls),
]
