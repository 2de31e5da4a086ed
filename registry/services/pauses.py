"""How long something waits that failed, before it is tried again."""

from django.conf import settings

LONGEST_SECONDS = 300


def pause_after(failures: int) -> float:
    """Return the seconds of the pause after so many failures: HUB_RETRY_SECONDS, then twice as long each time."""
    doublings = min(max(failures, 1) - 1, 16)
    return float(min(LONGEST_SECONDS, settings.HUB_RETRY_SECONDS * 2**doublings))
