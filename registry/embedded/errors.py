"""What can go wrong with an embedded hub, in words for the person at the terminal."""


class EmbeddedError(Exception):
    """The hub cannot start or go on. Carries what is wrong and how to mend it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class AlreadyRunningError(EmbeddedError):
    """Another hub holds the data folder."""


class PortTakenError(EmbeddedError):
    """Somebody listens on the port already."""


class StoppedError(EmbeddedError):
    """Somebody asked the hub to stop while it was still starting."""
