"""What the registry refuses, sorted by what the caller does next.

    RegistryError
    + BadRequest         400  the request cannot be read: mend how it is written
    + Unauthenticated    401  send a token
    + Forbidden          403  use another token, or ask for a role
    + NotFound           404  it is not there, or not for you
    + Conflict           409  look at what is there, then decide
    | - LabelExists           choose another label
    | - LookAlike             choose another name
    | - Incomplete            send the missing bytes, then complete again
    | - OffsetMismatch        go on from `received`
    | - LeaseLost             stop: the run is no longer yours
    | - NotPublished          wait, or read the report
    + Gone               410
    | - Yanked                choose another version, or pin by digest
    + TooLarge           413  send no more than was announced
    + Invalid            422  mend what is said
    | - UnknownBase           register the base model first
    | - UnknownBenchmark      register the benchmark first
    | - Rejected              mend the files
    + TooMany            429  wait `seconds`
    + Unavailable        503  try again later

The API writes each as a problem of RFC 9457 (registry.api.problems), the pages as an error page.
"""

from typing import Any

from hub.spec.errors import Problem, SpecError


class RegistryError(Exception):
    """An answer that is no success, and not our own fault."""

    status = 500
    code = "internal"
    title = "Something went wrong"

    def __init__(
        self, detail: str, *, hint: str = "", problems: tuple[Problem, ...] = (), code: str = "", **extra: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.problems = problems
        self.code = code or self.code
        self.extra = extra

    @classmethod
    def from_spec(cls, error: SpecError, detail: str = "") -> "RegistryError":
        """Return this error for what the spec refused, with every problem it found."""
        first = error.problems[0] if error.problems else None
        return cls(detail or str(error), hint=first.hint if first else "", problems=tuple(error.problems))


class BadRequest(RegistryError):
    status, code, title = 400, "bad_request", "The request cannot be read"


class Unauthenticated(RegistryError):
    status, code, title = 401, "unauthenticated", "Authentication is needed"


class Forbidden(RegistryError):
    status, code, title = 403, "forbidden", "Not allowed"


class NotFound(RegistryError):
    status, code, title = 404, "not_found", "Not found"


class Conflict(RegistryError):
    status, code, title = 409, "conflict", "Conflict"


class LabelExists(Conflict):
    code, title = "label_exists", "The label exists"


class LookAlike(Conflict):
    code, title = "look_alike", "The name looks like another"


class Incomplete(Conflict):
    code, title = "incomplete", "Bytes are missing"


class OffsetMismatch(Conflict):
    """The bytes do not continue what is there. `received` says where to go on."""

    code, title = "offset", "The offset is not where the received bytes end"

    def __init__(self, received: int) -> None:
        super().__init__(
            f"{received} bytes have been received.", hint=f"Go on with ?offset={received}", received=received
        )


class LeaseLost(Conflict):
    code, title = "lease_lost", "The lease is lost"


class NotPublished(Conflict):
    code, title = "not_published", "Not published"


class Gone(RegistryError):
    status, code, title = 410, "gone", "Gone"


class Yanked(Gone):
    code, title = "yanked", "The version was yanked"


class TooLarge(RegistryError):
    status, code, title = 413, "too_large", "Too large"


class Invalid(RegistryError):
    status, code, title = 422, "invalid", "Invalid"


class UnknownBase(Invalid):
    code, title = "unknown_base", "Unknown base model"


class UnknownBenchmark(Invalid):
    code, title = "unknown_benchmark", "Unknown benchmark"


class Rejected(Invalid):
    code, title = "rejected", "The adapter is rejected"


class TooMany(RegistryError):
    """Too many attempts. `seconds` says how long to wait."""

    status, code, title = 429, "too_many", "Too many attempts"

    def __init__(self, detail: str, *, seconds: int, hint: str = "") -> None:
        super().__init__(detail, hint=hint, seconds=seconds)


class Unavailable(RegistryError):
    status, code, title = 503, "unavailable", "Not available now"
