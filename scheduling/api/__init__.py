"""The REST API of getting to the day: referrals, evaluations, verdicts, episodes, appointments, closures."""
