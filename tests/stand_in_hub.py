"""A stand-in for the Hugging Face Hub: the two requests that a download makes, over real HTTP."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class StandInHub:
    """Serves one ``repository``, by default ``facebook/sam3``.

    ``files`` are its files by name. ``refusal`` is the status and the headers with which each
    file is refused; ``repository_refusal`` those for the repository. ``cuts`` are the numbers of
    bytes after which the next answers with a file break off. ``ranges`` is whether it can begin
    within a file. ``page`` is what it answers in place of its list of files. No file is sent while
    ``gate`` is not set. ``asked`` is what it has been asked for, ``tokens`` with which token.
    """

    def __init__(self):
        self.repository = "facebook/sam3"
        self.files = {}
        self.checksums = {}
        self.refusal = None
        self.repository_refusal = None
        self.cuts = []
        self.ranges = True
        self.page = b""
        self.asked = []
        self.tokens = set()
        self.served = 0
        self.gate = threading.Event()
        self.gate.set()

    def __enter__(self):
        self._server = Server(self)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def encrypt(self, context):
        """Speak HTTPS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = self.address.replace("http:", "https:")

    def __exit__(self, *_):
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def asked_for(self):
        """The names of the files that it has been asked for."""
        return [name for name, _ in self.asked if name]

    def listing(self):
        siblings = []
        for name, content in self.files.items():
            entry = {
                "rfilename": name,
                "size": len(content),
                "blobId": hashlib.sha1(content).hexdigest(),
            }
            if name.endswith((".safetensors", ".pt")):
                checksum = self.checksums.get(name, hashlib.sha256(content).hexdigest())
                entry["lfs"] = {"sha256": checksum, "size": len(content), "pointerSize": 135}
            siblings.append(entry)
        return {"id": self.repository, "sha": COMMIT, "siblings": siblings}


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing it waits for them

    def __init__(self, hub):
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub = hub


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        hub, path = self.server.hub, self.path.partition("?")[0]
        hub.tokens.add((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        if path == f"/api/models/{hub.repository}":
            hub.asked.append(("", ""))
            if hub.repository_refusal:
                self.refuse(*hub.repository_refusal)
            else:
                content = hub.page or json.dumps(hub.listing()).encode()
                self.begin(200, len(content))
                self.wfile.write(content)
        elif path.startswith(f"/{hub.repository}/resolve/{COMMIT}/"):
            self.send_file(path.rpartition("/")[2])
        else:
            self.refuse(404, {"X-Error-Code": "RepoNotFound"})

    def send_file(self, name):
        hub, wanted = self.server.hub, self.headers.get("Range", "")
        hub.asked.append((name, wanted))
        if hub.refusal:
            self.refuse(*hub.refusal)
            return
        partly = wanted and hub.ranges
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if partly else 0
        content = hub.files[name][start:]
        self.begin(206 if partly else 200, len(content))
        sent = content[: hub.cuts.pop(0)] if hub.cuts else content
        hub.served += len(sent)
        assert hub.gate.wait(240), "the test never opened the gate"
        try:
            self.wfile.write(sent)
        except ConnectionError:
            self.close_connection = True  # the client has gone

    def begin(self, status, length):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def refuse(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()
