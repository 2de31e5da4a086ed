"""Changes: keyword-only, atomic, idempotent. Outside effects go through the outbox. One file per subject."""
