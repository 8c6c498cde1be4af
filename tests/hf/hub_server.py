"""A server on 127.0.0.1 that speaks as much of the hub's HTTP interface as huggingface_hub asks of it for one model."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "1234567890" * 4
GATED = "maker/Gated"


@dataclass
class HubStandIn:
    """Repositories by name, each with its files, and what was asked."""

    repositories: Mapping[str, Mapping[str, bytes]]
    endpoint: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and range of each request."""

    def answer(self, request: "_Handler") -> None:
        self.asked.append((request.command, request.path, request.headers.get("Range", "")))
        api = re.fullmatch(r"/api/models/([^/]+/[^/?]+)(?:/revision/([^?]+))?(?:\?.*)?", request.path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", request.path)
        found = api or file
        repository, revision = (found[1], found[2] or "main") if found else ("", "")
        if repository not in self.repositories:
            return request.refuse(404, "RepoNotFound")
        if revision not in ("main", "v1", COMMIT):
            return request.refuse(404, "RevisionNotFound")
        files = self.repositories[repository]
        if api:
            names = [{"rfilename": name} for name in files]
            body = {
                "_id": "1",
                "id": repository,
                "modelId": repository,
                "sha": COMMIT,
                "siblings": names,
                "private": False,
            }
            return request.send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
        assert file is not None
        if repository == GATED:
            return request.refuse(403, "GatedRepo")
        if file[3] not in files:
            return request.refuse(404, "EntryNotFound")
        content = files[file[3]]
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")):
            start, stop = int(part[1]), min(int(part[2] or len(content)) + 1, len(content))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            return request.send(206, content[start:stop], headers)
        return request.send(200, content, headers)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: HubStandIn

    def do_GET(self) -> None:
        self.stand_in.answer(self)

    def do_HEAD(self) -> None:
        self.stand_in.answer(self)

    def refuse(self, status: int, code: str) -> None:
        self.send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def hub(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[HubStandIn]:
    """A running server with these repositories."""
    stand_in = HubStandIn(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stand_in": stand_in}))
    stand_in.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
