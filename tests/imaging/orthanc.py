"""A real archive for the tests: Debian's Orthanc with its DICOMweb plug-in, on a free port, with a folder of its own."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import pytest

PROGRAM = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "reader", "correct horse"


def need_orthanc() -> None:
    """Skip the test, saying why, where the archive is not installed."""
    if not Path(PROGRAM).exists() or not PLUGIN.exists():
        pytest.skip("Orthanc with its DICOMweb plug-in is not installed (apt-get install orthanc orthanc-dicomweb)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Orthanc:
    """One archive. It keeps its port and its folder when it is stopped and started again."""

    def __init__(self, folder: Path, *, password: bool = False) -> None:
        self.folder = folder
        self.password = password
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.holds = ""
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": password,
            "RegisteredUsers": {USER: PASSWORD},
            "SslEnabled": False,
            "OverwriteInstances": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "storage").mkdir(exist_ok=True)
        (folder / "orthanc.json").write_text(json.dumps(settings))

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The DICOMweb base."""
        return f"{self.root}/dicom-web"

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([PROGRAM, str(self.folder / "orthanc.json")], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self.request("GET", "/system")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        raise RuntimeError(f"Orthanc did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            finally:
                if self.process.poll() is None:
                    self.process.kill()
            self.process = None

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Orthanc's own REST interface, so that tests do not prepare the archive with what they test."""
        request = urllib.request.Request(self.root + path, data=body, method=method)
        if self.password:
            pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            request.add_header("Authorization", f"Basic {pair}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            content: bytes = answer.read()
            return content

    def put(self, files: Iterable[Path]) -> None:
        """Take files in."""
        self.holds = "something"
        for path in files:
            self.request("POST", "/instances", path.read_bytes())

    def remove(self, level: str, uid: str) -> None:
        """Remove a study, series or instance by its DICOM UID. `level` is Study, Series or Instance."""
        self.holds = "something"
        tag = {"Study": "StudyInstanceUID", "Series": "SeriesInstanceUID", "Instance": "SOPInstanceUID"}[level]
        query = json.dumps({"Level": level, "Query": {tag: uid}}).encode()
        (name,) = json.loads(self.request("POST", "/tools/find", query))
        folder = {"Study": "studies", "Series": "series", "Instance": "instances"}[level]
        self.request("DELETE", f"/{folder}/{name}")

    def hold_only(self, name: str, files: Iterable[Path]) -> None:
        """Hold these files and nothing else; `name` tells whether that is so already."""
        if self.holds != name:
            self.clear()
            self.put(files)
            self.holds = name

    def clear(self) -> None:
        """Remove everything."""
        self.holds = "something"
        for name in json.loads(self.request("GET", "/patients")):
            self.request("DELETE", f"/patients/{name}")
