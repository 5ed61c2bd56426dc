"""The patient's pages, below /s/."""

from django.urls import path

from followup import views

urlpatterns = [
    path("<str:token>/", views.start, name="survey"),
    path("<str:token>/<int:number>/", views.question, name="survey-question"),
    path("<str:token>/<int:number>/number/", views.as_number, name="survey-number"),
]
