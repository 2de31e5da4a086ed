"""The registry: Django, one app cut by layer. Knows hub.spec and nothing else of hub."""
