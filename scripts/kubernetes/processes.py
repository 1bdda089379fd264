"""The program, run as the manifests say, with a Redis server, a SQLite ledger and a folder as its
bucket.
"""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

TONEMILL = os.environ.get("TONEMILL", "tonemill")
# For a start, and for an answer; both take a fraction of a second.
PATIENCE_SECONDS = 60


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Process:
    """A process that is killed in the end."""

    def __init__(self, command: list[str], log: Path, variables: dict[str, str]):
        self.log = log
        with log.open("wb") as out:
            self.child = subprocess.Popen(command, stdout=out, stderr=out, env=variables)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()

    def wait_for(self, what: str, look):
        """Asks `look` until it gives something; fails if the process ends, or after a while."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise AssertionError(f"it ended: {self.log.read_text()}")
            if (found := look()) is not None:
                return found
            time.sleep(0.02)
        raise AssertionError(f"no {what}: {self.log.read_text()}")


def environment() -> dict[str, str]:
    """What the system needs, and nothing that would be a setting."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


class Redis(Process):
    def __init__(self, folder: Path):
        self.port = free_port()
        command = [
            "redis-server",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(folder),
        ]
        super().__init__(command, folder / "redis.log", environment())
        self.wait_for("Redis", self.answers)

    def answers(self):
        said = self.ask("PING")
        return said if said == "PONG" else None

    def ask(self, *words: str) -> str:
        command = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


class Tonemill(Process):
    """A process of the service, with the settings that a container has."""

    def __init__(self, words: list[str], settings: dict[str, str], folder: Path, redis: Redis):
        self.port = free_port()
        kept = {key: value for key, value in settings.items() if not key.startswith("TONEMILL_S3_")}
        here = {
            "TONEMILL_DATABASE_URL": f"sqlite:{folder}/ledger.db?mode=rwc",
            "TONEMILL_REDIS_URL": f"redis://127.0.0.1:{redis.port}",
            "TONEMILL_FOLDER": str(folder / "objects"),
            "TONEMILL_MAIL_FOLDER": str(folder / "mail"),
        }
        for name in ("TONEMILL_LISTEN", "TONEMILL_ADMIN"):
            if name in settings:
                here[name] = f"127.0.0.1:{self.port}"
        for name in ("objects", "mail"):
            (folder / name).mkdir(exist_ok=True)
        log = folder / f"{words[0]}.log"
        super().__init__([TONEMILL, *words], log, environment() | kept | here)

    def status(self, path: str) -> int | None:
        try:
            return self.get(path)[0]
        except urllib.error.HTTPError as answer:
            return answer.code
        except OSError:
            return None

    def get(self, path: str) -> tuple[int, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
