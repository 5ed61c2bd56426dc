"""A clinic rehearsed on real input: every patient of a file walks through the real steps and the real sweeps, against a
simulated clock, in a scratch database. What the files do not say (history, answers, moods) is drawn with a seed."""

from followup.rehearsal.report import Report, tell
from followup.rehearsal.scratch import scratch_database
from followup.rehearsal.staff import run

__all__ = ["Report", "run", "scratch_database", "tell"]
