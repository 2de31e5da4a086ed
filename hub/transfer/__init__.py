"""The way to the hub and back: JSON calls, resumable uploads, verified downloads.

Nothing here knows what an adapter is. Redirects are followed by our own rules (the token stays with its host, https
never becomes http), and a file is in its final place only when its SHA-256 was right.
"""
