"""Addresses outside the admin and the API: the calendar feeds, and a patient's answer to an offer off the waitlist."""

from django.urls import path

from scheduling import views

urlpatterns = [
    path("feeds/<str:token>.ics", views.feed, name="feed"),
    path("w/<str:token>/", views.offer, name="waitlist"),
    path("w/<str:token>/accept/", views.accept, name="waitlist-accept"),
    path("w/<str:token>/decline/", views.decline, name="waitlist-decline"),
    path("w/<str:token>/leave/", views.leave, name="waitlist-leave"),
]
