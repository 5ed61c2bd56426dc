"""What the API answered to a POST that may come again."""

from django.db import models


class KeptAnswer(models.Model):
    """The answer to one POST with an Idempotency-Key, written in the commit that made it true and kept for a day."""

    PERSONAL = ("body",)

    caller = models.CharField(max_length=40)
    key_hash = models.CharField(max_length=64)
    request_hash = models.CharField(max_length=64, help_text="Of the address and the body: the same key asks the same.")
    status = models.PositiveSmallIntegerField()
    body = models.TextField()
    etag = models.CharField(max_length=40, blank=True)
    answered_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "key_hash"], name="one_answer_per_key")]

    def __str__(self) -> str:
        return f"answer {self.status} to {self.caller}"
