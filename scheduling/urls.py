"""Addresses outside the admin and the API: the calendar feeds, and a patient's answer about their own visit or to an
offer off the waitlist. The mail's addresses carry a token; they lead on to the pages, whose addresses tell nothing."""

from django.urls import path

from scheduling import views, visit_pages

urlpatterns = [
    path("feeds/<str:token>.ics", views.feed, name="feed"),
    path("v/<str:token>/", visit_pages.enter, name="visit"),
    path("v/<str:slot>/visit/", visit_pages.visit, name="visit-page"),
    path("v/<str:slot>/visit/come/", visit_pages.come, name="visit-come"),
    path("v/<str:slot>/visit/move/", visit_pages.move, name="visit-move"),
    path("w/<str:token>/", views.enter, {"page": "offer"}, name="waitlist"),
    path("w/<str:token>/accept/", views.enter, {"page": "offer-accept"}, name="waitlist-accept"),
    path("w/<str:token>/decline/", views.enter, {"page": "offer-decline"}, name="waitlist-decline"),
    path("w/<str:token>/leave/", views.enter, {"page": "offer-leave"}, name="waitlist-leave"),
    path("w/<str:slot>/offer/", views.offer, name="offer"),
    path("w/<str:slot>/offer/accept/", views.accept, name="offer-accept"),
    path("w/<str:slot>/offer/decline/", views.decline, name="offer-decline"),
    path("w/<str:slot>/offer/leave/", views.leave, name="offer-leave"),
]
