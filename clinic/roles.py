"""Who may do what. The groups and their permissions are made in a migration; which sites a person sees comes from
their StaffMember row (`Model.objects.visible_to(user)`)."""

COORDINATOR = "Coordinator"
CLINICIAN = "Clinician"
