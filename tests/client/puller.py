"""A client in a process of its own, to be killed: `pull REF [no-locks]`, `limited BYTES REF`, `push DIR NAME`, and
`naive REF FILE` (the control)."""

import contextlib
import os
import resource
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


def pull(ref: str, *, locks: bool = True) -> int:
    from hub import errors
    from hub.client import Client
    from hub.transfer.retry import Retry

    if not locks:
        import fcntl

        fcntl.flock = fcntl.lockf = lambda *_: None  # type: ignore[assignment]
        _prove_that_locks_do_nothing()
    with Client() as client:
        client.wire.retry = Retry(first=0.01, cap=0.1)
        try:
            print(client.pull(ref).path)
        except errors.HubError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    return 0


def _prove_that_locks_do_nothing() -> None:
    from filelock import FileLock

    path = Path(os.environ["HUB_CACHE"]) / f"probe.{os.getpid()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    FileLock(path, is_singleton=False).acquire(timeout=0)
    FileLock(path, is_singleton=False).acquire(timeout=0)  # Timeout, if locks still worked


def push(folder: str, name: str) -> int:
    from hub.client import Client
    from hub.transfer import upload

    upload.STEP = 1 << 19
    with Client() as client:
        client.push(folder, name, check=False)
    return 0


def naive(ref: str, name: str) -> int:
    """What many downloaders do: one shared temporary file, appended to, believed when its size is right."""
    import json

    endpoint, cache = os.environ["HUB_ENDPOINT"], Path(os.environ["HUB_CACHE"])
    cache.mkdir(parents=True, exist_ok=True)
    answer = json.load(urllib.request.urlopen(f"{endpoint}/api/v1/resolve?ref={ref}"))
    file = next(entry for entry in answer["files"] if entry["path"] == name)
    part, final = cache / f"{name}.incomplete", cache / name
    for _ in range(20):
        if final.exists():
            return 0
        have = part.stat().st_size if part.exists() else 0
        if have >= file["size"]:
            with contextlib.suppress(FileNotFoundError):
                os.replace(part, final)
            return 0
        request = urllib.request.Request(endpoint + file["url"], headers={"Range": f"bytes={have}-"} if have else {})
        with contextlib.suppress(OSError, Exception), urllib.request.urlopen(request) as source, part.open("ab") as out:
            while data := source.read(16384):
                out.write(data)
                out.flush()
    return 1


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "naive":
        sys.exit(naive(*words))
    if verb == "push":
        sys.exit(push(*words))
    if verb == "limited":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(words[0]), int(words[0])))
        sys.exit(pull(words[1]))
    sys.exit(pull(words[0], locks="no-locks" not in words))
