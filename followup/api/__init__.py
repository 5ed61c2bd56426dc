"""The REST API of getting better: what is due, answered and read, what worries somebody, and what went wrong."""
