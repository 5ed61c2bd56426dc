"""How the web server runs, wherever it runs. What a machine decides (--bind, --workers, --threads) goes on the command
line."""

import gc
from typing import Any

wsgi_app = "clinic.wsgi:application"
worker_class = "gthread"
workers, threads = 2, 4
control_socket_disable = True  # nobody steers it from outside


def post_worker_init(worker: Any) -> None:
    """What is loaded now stays. Left to itself the collector reads all of it again every few requests: one in twenty
    waited a quarter longer for that."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
