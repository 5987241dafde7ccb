"""What a server is started with, and which of it may not stand together."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from pathlib import Path

from corpuscle.data.images import MAX_PIXELS
from corpuscle.errors import UsageError
from corpuscle.models.bundle import DEFAULT_MODEL
from corpuscle.models.detection_bundle import DEFAULT_DETECTOR

__all__ = ["LOOPBACK_NAMES", "MOST_FILES", "ServerSettings", "is_loopback"]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names of this machine in a Host header."""

MOST_FILES = 1000
"""Pictures that one request may bring."""

_LONGEST_DAYS = 36500


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a server is started with.

    Attributes:
        store: Folder that keeps sessions and pictures.
        host: Interface to listen on.
        port: Port; 0 for any free one.
        model: The classifier: a shipped bundle's name or a folder.
        detector: The detector, likewise.
        token: What a client must know; empty for none, which only the loopback interface allows.
        names: Names under which the server is reached, as a reverse proxy gives them.
        keep_days: Days after its last change on which a session is deleted with its pictures; 0 keeps it.
        max_upload_mb: Most megabytes of one request.
        max_megapixels: Most megapixels of one picture.
        max_jobs: Jobs that run at once.
        queue: Jobs that may wait; one more is refused.
        job_seconds: Most seconds that a job may run.
    """

    store: Path
    host: str = "127.0.0.1"
    port: int = 8000
    model: str = DEFAULT_MODEL
    detector: str = DEFAULT_DETECTOR
    token: str = ""
    names: tuple[str, ...] = ()
    keep_days: float = 30
    max_upload_mb: float = 64
    max_megapixels: float = MAX_PIXELS / 1e6
    max_jobs: int = 2
    queue: int = 16
    job_seconds: float = 600

    def __post_init__(self) -> None:
        """Refuse what would be open to everybody, or what cannot be."""
        if not is_loopback(self.host) and not self.token:
            raise UsageError(
                f"The interface {self.host} can be reached from other machines, so a token is needed: set "
                "CORPUSCLE_TOKEN or --token, or listen on 127.0.0.1."
            )
        if self.token and (len(self.token) < 12 or not self.token.isascii() or not self.token.isprintable()):
            raise UsageError("A token needs 12 or more plain characters without spaces at its ends. Make a longer one.")
        if not 0 < self.max_megapixels <= MAX_PIXELS / 1e6:
            raise UsageError(f"Pictures may have at most {MAX_PIXELS / 1e6:g} megapixels; give a limit up to that.")
        if self.max_jobs < 1 or self.queue < 0 or self.job_seconds <= 0 or self.max_upload_mb <= 0:
            raise UsageError("A server needs one job at least, and limits above 0.")
        if not 0 <= self.keep_days <= _LONGEST_DAYS:
            raise UsageError(f"Sessions are kept for 0 (for ever) to {_LONGEST_DAYS} days, not {self.keep_days:g}.")
        if not (math.isfinite(self.job_seconds) and math.isfinite(self.max_upload_mb)):
            raise UsageError("The limits of a server must be numbers; give very large ones where none is wanted.")

    @property
    def max_bytes(self) -> int:
        """Most bytes of one request."""
        return int(self.max_upload_mb * 1e6)

    @property
    def max_pixels(self) -> int:
        """Most pixels of one picture."""
        return int(self.max_megapixels * 1e6)


def is_loopback(host: str) -> bool:
    """Return whether an interface can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
