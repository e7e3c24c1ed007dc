"""A real FHIR R4 server on loopback, with the example cohort in it; it lives in `.venv-servers` (`make servers`)."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

ROOT = Path(__file__).resolve().parents[2]
COHORT = ROOT / "criteria" / "flute" / "cohort"


def executable() -> str:
    """The server's command; skips the test where it is not installed."""
    named = os.environ.get("SEKMET")
    found = named or shutil.which("sekmet") or str(ROOT / ".venv-servers" / "bin" / "sekmet")
    if not Path(found).exists():
        pytest.skip("the FHIR server for tests is not installed (make servers, or SEKMET=/path/to/sekmet)")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_sekmet(folder: Path, **settings: Any) -> Iterator[str]:
    """The base address of a server that keeps its data in a folder and listens on loopback alone."""
    command = executable()
    port = free_port()
    base = f"http://127.0.0.1:{port}/fhir"
    everything = {"base_url": base, "host": "127.0.0.1", "port": port, "data_dir": str(folder / "data"), **settings}
    everything["simulator"] = {"enabled": False, "delay_seconds": 0.2}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.yaml").write_text(json.dumps(everything), encoding="utf-8")  # JSON is YAML
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [command, "serve", "-c", "settings.yaml"], cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        try:
            _wait_for(base, process, folder / "log")
            yield base
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(base: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended: {log.read_text(errors='replace')[-2000:]}")
        try:
            if urllib3.request("GET", f"{base}/metadata", timeout=2, retries=False).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.1)
    raise RuntimeError("the server did not answer within a minute")


def load_cohort(base: str, headers: dict[str, str] | None = None) -> int:
    """Put every resource of the example cohort into a server; how many there were."""
    seen: set[str] = set()
    with urllib3.PoolManager(headers=headers, timeout=30) as pool:
        for path in sorted(COHORT.glob("*.json")):
            for entry in json.loads(path.read_text(encoding="utf-8"))["entry"]:
                resource = entry["resource"]
                name = f"{resource['resourceType']}/{resource['id']}"
                if name not in seen:
                    seen.add(name)
                    changed(pool, "PUT", f"{base}/{name}", resource)
    return len(seen)


def changed(pool: urllib3.PoolManager, method: str, url: str, resource: dict[str, Any] | None = None) -> None:
    """Put or delete a resource."""
    body = None if resource is None else json.dumps(resource).encode()
    sent = {**pool.headers, "Content-Type": "application/fhir+json"}
    answer = pool.request(method, url, body=body, headers=sent)
    assert 200 <= answer.status < 300, (answer.status, answer.data[:500])


if __name__ == "__main__":
    with running_sekmet(Path(sys.argv[1])) as address:
        print(address, load_cohort(address))
        input("Enter ends the server ")
