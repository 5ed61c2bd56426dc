"""The patient's pages, below /s/. The mailed address has one part, the token; every page behind it has two or more."""

from django.urls import path

from followup import views

urlpatterns = [
    path("<str:token>/", views.enter, name="survey"),
    path("<str:slot>/start/", views.start, name="survey-start"),
    path("<str:slot>/<int:number>/", views.question, name="survey-question"),
    path("<str:slot>/<int:number>/number/", views.as_number, name="survey-number"),
    path("<str:slot>/dates/", views.dates, name="survey-dates"),
]
