"""What can go wrong in a blob store, sorted by what the caller does next."""


class StorageError(Exception):
    """A store could not do what it was asked; `hint` says how to mend it.

    The tree is sorted by what the caller does next::

        StorageError
        |- BadKey               a mistake of the calling code: 500
        |- BlobMissing          404
        |- BlobRotten           stored bytes no longer match their key: tell an operator
        |- BadRange             416
        |- StagingMissing       the upload was discarded or never begun: start again
        |- StagingIncomplete    send the rest (`received` of `size`)
        |- StagingTooLarge      413: more bytes than announced (`limit`)
        |- StagingChanged       bytes were exchanged while being read: ingest again, nothing was published
        |- OffsetMismatch       409: go on at `received`
        |- DigestMismatch       the bytes are not what was announced: refuse the upload
        |- StorageFull          507: no space; what was there before is still whole
        |- StorageUnavailable   503: try again later
        `- UnfitStore           the store lacks or lies about something we stand on: do not start
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class BadKey(StorageError, ValueError):
    """A staging key or digest that the server cannot have made."""


class BlobMissing(StorageError):
    """No blob is stored under this digest."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"Blob {sha256} is not in the store.")
        self.sha256 = sha256


class BlobRotten(StorageError):
    """The bytes under a digest are not the bytes of that digest, and could not be repaired."""

    def __init__(self, sha256: str, hint: str = "") -> None:
        super().__init__(f"Blob {sha256} is damaged: its bytes no longer match its name.", hint)
        self.sha256 = sha256


class BadRange(StorageError):
    """A range that begins behind the end of the blob."""

    def __init__(self, start: int, end: int | None, size: int) -> None:
        last = "" if end is None else end
        super().__init__(f"The range {start}:{last} lies outside a blob of {size} bytes.")
        self.size = size


class StagingMissing(StorageError):
    """Nothing was received under this staging key, or it has been discarded."""

    def __init__(self, key: str) -> None:
        super().__init__(f"Nothing has been received for upload {key}.", "Send the file again.")
        self.key = key


class StagingIncomplete(StorageError):
    """Fewer bytes were received than announced."""

    def __init__(self, key: str, received: int, size: int) -> None:
        super().__init__(f"Upload {key} has {received} of {size} bytes.", "Send the rest, then complete again.")
        self.key, self.received, self.size = key, received, size


class StagingTooLarge(StorageError):
    """More bytes were sent than announced; those beyond the limit were not kept."""

    def __init__(self, key: str, limit: int) -> None:
        super().__init__(f"Upload {key} is longer than the {limit} bytes announced for it.")
        self.key, self.limit = key, limit


class StagingChanged(StorageError):
    """The staged bytes were exchanged while they were read; nothing was published."""

    def __init__(self, key: str) -> None:
        super().__init__(f"Upload {key} changed while it was read.", "Complete the upload again.")
        self.key = key


class OffsetMismatch(StorageError):
    """Bytes were sent for another place than the one that comes next."""

    def __init__(self, key: str, received: int) -> None:
        super().__init__(f"Upload {key} goes on at byte {received}.", "Send the bytes from there.")
        self.key, self.received = key, received


class DigestMismatch(StorageError):
    """The bytes received are not the bytes announced; nothing was published."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(
            f"The bytes received have SHA-256 {found}, announced was {expected}.",
            "The file changed while it was sent, or it was damaged on the way: send it again.",
        )
        self.expected, self.found = expected, found


class StorageFull(StorageError):
    """No space is left (or a quota is reached); nothing partial was left behind."""

    def __init__(self, where: str, needed: int) -> None:
        super().__init__(
            f"No space left at {where} for {needed} more bytes.",
            "Free some space or raise the quota, then retry.",
        )
        self.where, self.needed = where, needed


class StorageUnavailable(StorageError):
    """The store did not answer in time, refuses our credentials, or answered nonsense."""


class UnfitStore(StorageError):
    """The probe found that the store cannot keep the promises of this module."""
