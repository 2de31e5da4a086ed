"""An HTTP proxy on loopback that does to requests what networks and overloaded servers do."""

import contextlib
import http.client
import http.server
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

Fault = Callable[[str, str], str]
"""fault(method, path) -> "" (pass on), "refuse" (503), "lose" (done, but the answer is lost), "cut" (half of
the answer), "error in 200" (status 200 around an error)."""

_ERROR = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>try again</Message></Error>'
_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on unchanged (their signatures stay valid), except where `fault` says otherwise."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urllib.parse.urlsplit(upstream).netloc
        self.fault: Fault = lambda method, path: ""
        self.seen: list[str] = []

    @property
    def endpoint(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A cut connection is what we are here for."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Proxy
    # 1.0 would leave `Expect: 100-continue` unanswered, for which clients wait a second with every upload
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        fault = self.server.fault(self.command, self.path)
        self.server.seen.append(f"{self.command} {fault}".strip())
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "refuse":
            return self._answer(503, [], b"")
        status, headers, content = self._ask(body)
        if fault == "lose":
            self.close_connection = True
            return None
        if fault == "error in 200":
            return self._answer(200, [("Content-Type", "application/xml")], _ERROR)
        self._answer(status, headers, content, cut=fault == "cut")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        with contextlib.closing(http.client.HTTPConnection(self.server.upstream, timeout=30)) as upstream:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            headers = [(n, v) for n, v in answer.getheaders() if n.lower() not in _HOP_BY_HOP]
            return answer.status, headers, answer.read()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if "content-length" not in {name.lower() for name, _ in headers}:
            self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)


@contextlib.contextmanager
def serve(upstream: str) -> Iterator[Proxy]:
    """Run a proxy before `upstream` (http://host:port)."""
    with Proxy(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
