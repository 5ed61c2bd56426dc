"""The coordinators' desk: Django's admin under our own name."""

from django.contrib import admin


class PulposusAdminSite(admin.AdminSite):
    site_header = "Pulposus"
    site_title = "Pulposus"
    index_title = "What needs me now"
