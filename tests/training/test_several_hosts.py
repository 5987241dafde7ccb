"""Two machines that share no disk: network namespaces joined by a cable where we may make them, else two launchers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import toy_fit
from safetensors.torch import load_file
from toy_fit import CLASSES, toy_crops, toy_recipe

from corpuscle.training.loop import fit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces and names of interfaces are those of Linux"),
]

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"augmentation__preset": "strong", "model__dropout": 0.0, "run__epochs": 3}
CHECKPOINT = "checkpoint.safetensors"
IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""
_LIMIT_S = 180
_TOLERANCE = 1e-4
"""As for two processes on one machine: see `test_distributed.py`."""


@dataclass
class Node:
    """One launcher and what it wrote."""

    launcher: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def workers(self) -> list[int]:
        place = Path(f"/proc/{self.launcher.pid}/task/{self.launcher.pid}/children")
        return [int(pid) for pid in place.read_text().split()] if place.exists() else []

    def kill(self) -> None:
        """End worker and launcher at once, as a power cut would."""
        for pid in [*self.workers(), self.launcher.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.launcher.wait(10)


@dataclass
class Hosts:
    """Two machines: how to run something on each, and how they reach each other."""

    prefixes: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    interfaces: tuple[str, str] = ("lo", "lo")
    address: str = "127.0.0.1"
    nodes: list[Node] = field(default_factory=list)

    def start(self, rank: int, folder: Path, port: int, *, restarts: int = 3, kill: str = "0,0") -> Node:
        """Start one machine's launcher on the toy training, with a folder that only this machine uses."""
        host = folder / f"host-{rank}"
        host.mkdir(parents=True, exist_ok=True)
        log = host / f"{len(self.nodes)}.log"
        command = [
            *self.prefixes[rank], sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={rank}",
            "--nproc-per-node=1", f"--master-addr={self.address}", f"--master-port={port}",
            f"--max-restarts={restarts}", toy_fit.__file__, str(host / "run"), json.dumps(SETTINGS),
        ]  # fmt: skip
        own = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": self.interfaces[rank], "CORPUSCLE_TEST_KILL": kill}
        with log.open("wb") as file:
            launcher = subprocess.Popen(command, env={**os.environ, **own}, stdout=file, stderr=subprocess.STDOUT)
        self.nodes.append(Node(launcher, log))
        return self.nodes[-1]

    def run(self, folder: Path, *, restarts: int = 3, kill: str = "0,0") -> tuple[Node, Node]:
        """Start both machines and wait for their ends."""
        port = free_port()
        nodes = tuple(self.start(rank, folder, port, restarts=restarts, kill=kill) for rank in (0, 1))
        wait(*nodes)
        return nodes[0], nodes[1]


def wait(*nodes: Node) -> None:
    end = time.monotonic() + _LIMIT_S
    for node in nodes:
        try:
            node.launcher.wait(max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            pytest.fail("\n\n".join(f"{one.log}:\n{one.text()}" for one in nodes))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def ip(*words: str) -> bool:
    """Run `ip`; returns whether it did what it should."""
    return bool(IP) and subprocess.run([IP, *words], capture_output=True, check=False).returncode == 0


def namespaces() -> Hosts | None:
    """Join two new network namespaces by a cable; None where this is not allowed."""
    names = tuple(f"corpuscle-{os.getpid()}-{rank}" for rank in (0, 1))
    ends = tuple(f"cor{os.getpid()}{letter}"[-15:] for letter in "ab")
    made = all(ip("netns", "add", name) for name in names) and ip(
        "link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1]
    )
    for rank, (name, end) in enumerate(zip(names, ends, strict=True)):
        made = made and ip("-n", name, "address", "add", f"10.99.0.{rank + 1}/24", "dev", end)
        # A machine reaches its own address through its loopback interface.
        made = made and ip("-n", name, "link", "set", "lo", "up") and ip("-n", name, "link", "set", end, "up")
    prefixes = ((IP, "netns", "exec", names[0]), (IP, "netns", "exec", names[1]))
    if made and subprocess.run([*prefixes[1], "true"], check=False).returncode == 0:
        return Hosts(prefixes, (ends[0], ends[1]), "10.99.0.1")
    take_down()
    return None


def take_down() -> None:
    """Remove the namespaces of this process; the cable goes with them."""
    for rank in (0, 1):
        ip("netns", "delete", f"corpuscle-{os.getpid()}-{rank}")


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Two machines, cleared of what is still running at the end."""
    found = namespaces() or Hosts()
    try:
        yield found
    finally:
        for node in found.nodes:
            node.kill()
        take_down()


@pytest.fixture(scope="module")
def undisturbed(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on both machines that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for node in hosts.run(folder):
        assert node.launcher.returncode == 0, node.text()
        assert "start 0: 9 steps" in node.text()
    return folder


def test_two_machines_train_like_one_process(undisturbed: Path, tmp_path: Path) -> None:
    fit(toy_recipe(**SETTINGS), *toy_crops(), CLASSES, tmp_path)
    one, two = load_file(tmp_path / CHECKPOINT), load_file(undisturbed / "host-0" / "run" / CHECKPOINT)
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=_TOLERANCE, rtol=1e-3, msg=lambda text, key=key: key + text)
    assert not (undisturbed / "host-1" / "run").exists()


def test_a_killed_worker_is_started_again_and_the_weights_are_the_same(
    hosts: Hosts, undisturbed: Path, tmp_path: Path, same_tensors: Callable[[Path, Path], None]
) -> None:
    nodes = hosts.run(tmp_path, kill="2,2,1")
    for node in nodes:
        assert node.launcher.returncode == 0, node.text()
        # Both go on after the first epoch, also the one that has no checkpoint.
        assert "start 1: 6 steps" in node.text()
    assert "exitcode: -9" in nodes[1].text()
    assert "The connection to another process of this training broke" in nodes[0].text()
    same_tensors(undisturbed / "host-0" / "run" / CHECKPOINT, tmp_path / "host-0" / "run" / CHECKPOINT)
    assert not (tmp_path / "host-1" / "run").exists()


def test_a_machine_that_went_away_may_come_back(
    hosts: Hosts, undisturbed: Path, tmp_path: Path, same_tensors: Callable[[Path, Path], None]
) -> None:
    port = free_port()
    first, second = (hosts.start(rank, tmp_path, port, kill="2,2,1") for rank in (0, 1))
    end = time.monotonic() + _LIMIT_S
    while "exitcode: -9" not in second.text() and time.monotonic() < end:
        time.sleep(0.05)
    second.kill()
    again = hosts.start(1, tmp_path, port, kill="0,0")
    wait(first, again)
    assert (first.launcher.returncode, again.launcher.returncode) == (0, 0), first.text() + again.text()
    assert "start 0: 6 steps" in again.text()
    same_tensors(undisturbed / "host-0" / "run" / CHECKPOINT, tmp_path / "host-0" / "run" / CHECKPOINT)


def test_a_damaged_checkpoint_ends_all_machines_with_the_same_sentence(hosts: Hosts, tmp_path: Path) -> None:
    path = tmp_path / "host-0" / "run" / CHECKPOINT
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no checkpoint" * 9)
    nodes = hosts.run(tmp_path, restarts=0)
    sentences = [[line for line in node.text().splitlines() if line.startswith("toy_fit: ")] for node in nodes]
    assert [node.launcher.returncode != 0 for node in nodes] == [True, True]
    assert sentences[0] == sentences[1]
    assert len(sentences[0]) == 1
    assert sentences[0][0].startswith(f"toy_fit: The checkpoint {path} cannot be read")


def test_the_script_of_the_documents_trains_and_resumes(tmp_path: Path) -> None:
    done = subprocess.run(
        ["timeout", "-k", "20", "540", str(ROOT / "docs" / "two_hosts.sh"), str(tmp_path)],  # lets it clear up
        env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the worker of host 1 is killed" in done.stdout
    assert "Each host cut its own crops, and they are equal." in done.stdout
    assert "exitcode: -9" in (tmp_path / "host-1" / "log").read_text()
    assert (tmp_path / "host-0" / "run" / "bundle" / "bundle.json").exists()
    assert "epoch" not in (tmp_path / "host-1" / "log").read_text()
