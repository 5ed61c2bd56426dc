"""Addresses outside the admin and the API: the calendar feeds, and a patient's answer to an offer off the waitlist. The
mail's addresses carry a token; they lead on to the pages, whose addresses tell nothing."""

from django.urls import path

from scheduling import views

urlpatterns = [
    path("feeds/<str:token>.ics", views.feed, name="feed"),
    path("w/<str:token>/", views.enter, {"page": "offer"}, name="waitlist"),
    path("w/<str:token>/accept/", views.enter, {"page": "offer-accept"}, name="waitlist-accept"),
    path("w/<str:token>/decline/", views.enter, {"page": "offer-decline"}, name="waitlist-decline"),
    path("w/<str:token>/leave/", views.enter, {"page": "offer-leave"}, name="waitlist-leave"),
    path("w/<str:slot>/offer/", views.offer, name="offer"),
    path("w/<str:slot>/offer/accept/", views.accept, name="offer-accept"),
    path("w/<str:slot>/offer/decline/", views.decline, name="offer-decline"),
    path("w/<str:slot>/offer/leave/", views.leave, name="offer-leave"),
]
