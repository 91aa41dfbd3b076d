"""A sample company on real servers, and the program run against it as its users run it: as a process of its own."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests import peers

CONFIGURATION = "access-reconciler.yaml"
TIMEOUT_SECONDS = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a run of the program said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Return the JSON document on stdout."""
        assert self.out.startswith(("{", "[")), f"exit {self.code}: no document: {self.out}{self.err}"
        return json.loads(self.out)


def environment() -> dict[str, str]:
    """Return an environment in which the project's own tools are found, wherever the tests are run from."""
    places = (os.environ["PATH"], str(peers.ROOT / ".tools" / "bin"), str(Path(sys.executable).parent), "/usr/sbin")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACCESS_RECONCILER_")}
    return {**kept, "PATH": os.pathsep.join(places), "PYTHONPATH": str(peers.ROOT)}


def command(*arguments: str | Path) -> list[str]:
    """Return the command line of the program."""
    return [sys.executable, "-m", "reconciler", *map(str, arguments)]


def run(*arguments: str | Path, cwd: Path) -> Answer:
    """Run the program to its end."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """A folder with a configuration, and the addresses of the servers that it names."""

    directory: Path
    servers: Mapping[str, Mapping[str, str]]

    @classmethod
    def prepare(cls, directory: Path) -> "Company":
        """Set a fresh sample company up in a folder; an earlier one there ends."""
        answer = run("demo", "--dir", directory, "--prepare-only", cwd=directory.parent)
        assert answer.code == 0, answer.err
        return cls.opened(directory)

    @classmethod
    def opened(cls, directory: Path) -> "Company":
        """Return the company whose servers run in a folder."""
        servers = json.loads((directory / "servers.json").read_text())["addresses"]
        return cls(directory=directory, servers=servers)

    @property
    def config(self) -> Path:
        """Return the configuration file."""
        return self.directory / CONFIGURATION

    @property
    def roster(self) -> Path:
        """Return the roster file."""
        return self.directory / "roster.csv"

    @property
    def journal(self) -> Path:
        """Return the journal's database."""
        return self.directory / "state" / "journal.sqlite3"

    @property
    def attestations(self) -> Path:
        """Return the folder of the statements and bundles."""
        return self.directory / "state" / "evidence" / "attestations"

    def run(self, *arguments: str | Path) -> Answer:
        """Run a command that takes a configuration."""
        return run(*arguments, "--config", self.config, cwd=self.directory.parent)

    def cycle(self, mode: str = "enforce") -> Answer:
        """Run one cycle and ask for its document."""
        return self.run("cycle", "--mode", mode, "--quiet", "--output", "json")

    def variant(self, directory: Path) -> "Company":
        """Return a copy with its own roster, policies, configuration and state, before the same servers."""
        directory.mkdir()
        for name in ("policies", "state"):
            if (self.directory / name).exists():
                shutil.copytree(self.directory / name, directory / name)
        shutil.copy2(self.roster, directory / "roster.csv")
        shutil.copy(self.config, directory / CONFIGURATION)
        return Company(directory=directory, servers=self.servers)

    def configure(self, **changes: Any) -> None:
        """Change top-level blocks of the configuration; a mapping is merged into the block."""
        document = yaml.safe_load(self.config.read_text())
        for name, value in changes.items():
            block = document.get(name)
            document[name] = block | value if isinstance(block, dict) and isinstance(value, dict) else value
        self.config.write_text(yaml.safe_dump(document))

    def redirect(self, provider: str, **reader: Any) -> None:
        """Change settings of one provider's reader."""
        document = yaml.safe_load(self.config.read_text())
        document["providers"][provider]["reader"] |= reader
        self.config.write_text(yaml.safe_dump(document))

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Read the journal without being able to change it; empty while there is none."""
        try:
            with closing(sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True, timeout=5)) as connection:
                return connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if "unable to open" in str(error) or "no such table" in str(error):
                return []
            raise

    def intents(self) -> int:
        """Return how many intents the journal holds: without one, nothing was called."""
        return int(self.query("SELECT count(*) FROM intents")[0][0])

    def audit(self) -> list[Any]:
        """Return the records of the audit trail, as the file of JSON lines has them."""
        return [json.loads(line) for line in (self.directory / "state" / "audit.jsonl").read_text().splitlines()]

    def last_statement(self) -> Any:
        """Return the predicate of the newest attestation, as it lies there."""
        newest = max(self.attestations.glob("*.statement.json"))
        return json.loads(newest.read_bytes())["predicate"]

    def verified(self) -> Any:
        """Return what `attestations verify` reports."""
        return self.run("attestations", "verify", "--output", "json").document


def port_of(url: str) -> int:
    """Return the port of an address."""
    port = urlsplit(url).port
    assert port is not None
    return port
