"""The hub on one machine without configuration: its own PostgreSQL, Redis, web server and workers as children.

launch.py      what a child does before it becomes its program: drops privileges, asks to die with its parent
account.py     the unprivileged user of the servers when the hub runs as root, and what this user can read
folder.py      the data folder: lock, secrets, and the note from which other commands find the running hub
postgres.py    PostgreSQL from a wheel's binaries       redis.py   redis-server from a wheel's binary
supervisor.py  starts, watches, restarts and stops children
hub.py         which children a hub has, in which order, and what each may know

Knows neither Django nor the rest of the registry: everything here works before settings can be loaded.
"""
