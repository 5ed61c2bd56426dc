"""Addresses outside the admin and the API: the calendar feeds."""

from django.urls import path

from scheduling import views

urlpatterns = [
    path("feeds/<str:token>.ics", views.feed, name="feed"),
]
