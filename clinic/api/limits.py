"""How much at once, and how often."""

from redis.exceptions import RedisError
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.request import Request
from rest_framework.throttling import UserRateThrottle


class Pages(LimitOffsetPagination):
    default_limit = 50
    max_limit = 200


class Throttle(UserRateThrottle):
    """Counts in the cache; while that is away, the clinic's work goes on uncounted."""

    def allow_request(self, request: Request, view: object) -> bool:
        try:
            return super().allow_request(request, view)
        except RedisError:
            return True
