"""Say what went wrong without saying about whom: an exception's text may quote a row, its type and place never do."""

import traceback
from pathlib import PurePath


def told(fault: BaseException) -> str:
    """`fault` fit for a log line: "KeyError at scheduling/reminders.py:88"."""
    frames = traceback.extract_tb(fault.__traceback__)
    if not frames:
        return type(fault).__name__
    last = frames[-1]
    place = "/".join(PurePath(last.filename).parts[-2:])
    return f"{type(fault).__name__} at {place}:{last.lineno}"
