"""The plainest kind of message, for tests of how messages leave rather than of what they say."""

from clinic import messages


class Plain(messages.Kind):
    """Wanted unless its occasion says otherwise; unreadable if its occasion says so."""

    def still_wanted(self, message, *, at):
        return "The appointment was cancelled." if message.occasion.startswith("cancelled") else ""

    def render(self, message, *, at):
        if message.occasion == "unreadable":
            raise ValueError(f"secret of {message.patient.family_name}")
        return messages.Rendered("Your appointment", "Please call us.", "<p>Please call us.</p>")
