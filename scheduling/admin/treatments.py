"""What the pages about one treatment have in common."""

from django.contrib import admin

from clinic.admin import show


class OfOneTreatment:
    """The columns that say whose row it is. The row has an `episode`."""

    @admin.display(description="Patient", ordering="episode__patient__family_name")
    def patient_name(self, row):
        return str(row.episode.patient)

    @admin.display(description="Patient")
    def patient_link(self, row):
        return show.link(row.episode.patient)

    @admin.display(description="Treatment")
    def treatment_link(self, row):
        return show.link(row.episode, row.episode.protocol.name)
