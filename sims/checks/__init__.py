"""What may never happen in a run, apart from what the run does."""

from sims.checks.suite import Checks

__all__ = ["Checks"]
