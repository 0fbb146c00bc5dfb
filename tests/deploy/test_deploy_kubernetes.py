"""deploy/kubernetes: valid, unprivileged, closed; its parts fit; its commands run together."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
API = "1.33"
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
READY_S = 60.0

Resource = dict[str, Any]


def resources_in(*texts: str) -> list[Resource]:
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def base() -> list[Resource]:
    files = yaml.safe_load((FOLDER / "base/kustomization.yaml").read_text())["resources"]
    return resources_in(*((FOLDER / "base" / name).read_text() for name in files))


def one_of(resources: Sequence[Resource], kind: str, name: str = "") -> Resource:
    (found,) = [
        one for one in resources if one["kind"] == kind and name in ("", one["metadata"]["name"])
    ]
    return found


def pods(resources: Sequence[Resource]) -> dict[str, Resource]:
    """Kind -> the pod template of it."""
    kinds = ("Deployment", "Job")
    return {kind: one_of(resources, kind)["spec"]["template"] for kind in kinds}


def container(kind: str) -> Resource:
    (found,) = pods(base())[kind]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def complaint_of_schema(resource: Resource) -> str:
    """What the API's schemas say against a resource; ``""``: nothing."""
    validator = pytest.importorskip("kubernetes_validate")
    try:
        validator.validate(resource, API, strict=True)
    except validator.ValidationError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder, with the example's secrets made."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    copy = tmp_path_factory.mktemp("kubernetes")
    shutil.copytree(FOLDER, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("secrets"))
    subprocess.run([copy / "example/make-secrets"], check=True, capture_output=True, timeout=60)
    return copy / "example/secrets"


@pytest.fixture(scope="module")
def example(secrets: Path) -> list[Resource]:
    """What ``kubectl kustomize`` makes of the example."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: the example is not built")
    command = ["kubectl", "kustomize", secrets.parent]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return resources_in(ran.stdout)


def test_schemas_take_the_base() -> None:
    judged = [one for one in base() if one["kind"] not in CUSTOM]
    assert {one["kind"] for one in judged} == {
        "ServiceAccount", "Service", "PersistentVolumeClaim", "Deployment", "Job", "NetworkPolicy",
    }  # fmt: skip
    assert [complaint_of_schema(one) for one in judged] == [""] * len(judged)


def test_schemas_refuse_a_slip() -> None:
    deployment = one_of(base(), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = True
    assert "readOnlyRootFilesystem" in complaint_of_schema(deployment)


def test_schemas_take_the_example(example: list[Resource]) -> None:
    assert [complaint_of_schema(one) for one in example if one["kind"] not in CUSTOM].count("") == (
        len(example) - len(CUSTOM)
    )


def test_the_example_is_the_base_with_its_changes(example: list[Resource]) -> None:
    job = one_of(example, "Job")
    assert job["spec"]["parallelism"] == 8
    images = {pod["spec"]["containers"][0]["image"] for pod in pods(example).values()}
    assert images == {"registry.example/loadgen/service:0.1.0"}
    arguments = pods(example)["Deployment"]["spec"]["containers"][0]["args"]
    before = container("Deployment")["args"]
    assert len(arguments) == len(before)
    assert {*arguments} - {*before} == {"--allow-sut=triton.models.svc:8001"}
    spaces = {one["metadata"].get("namespace") for one in example if one["kind"] != "Namespace"}
    assert spaces == {"loadgen"}


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_pods_are_restricted(kind: str) -> None:
    """The rules of Kubernetes' own `restricted` level, a read-only root besides."""
    pod, only = pods(base())[kind]["spec"], container(kind)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001  # of the image
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(only["resources"]["requests"])
    assert "memory" in only["resources"]["limits"]
    assert "cpu" not in only["resources"]["limits"]  # a quota stops a generator for whole periods
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume]


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_every_path_of_a_command_is_mounted(kind: str) -> None:
    only = container(kind)
    mounts = {one["mountPath"]: one["name"] for one in only["volumeMounts"]}
    volumes = {one["name"]: one for one in pods(base())[kind]["spec"]["volumes"]}
    assert set(mounts.values()) == set(volumes)
    for word in only["args"]:
        path = word.partition("=")[2]
        if not path.startswith("/"):
            continue
        (at,) = [mount for mount in mounts if Path(path).is_relative_to(mount)]
        secret = volumes[mounts[at]].get("secret")
        if secret:
            assert str(Path(path).relative_to(at)) in {one["path"] for one in secret["items"]}


def test_workers_scale_together_and_spread() -> None:
    job = one_of(base(), "Job")["spec"]
    assert job["completionMode"] == "Indexed"
    # an Indexed Job is scaled by both at once, and only while they are equal
    assert job["parallelism"] == job["completions"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # backoffLimitPerIndex wants it
    (spread,) = job["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= (
        job["template"]["metadata"]["labels"].items()
    )


def test_ports_fit_commands_probes_service_and_monitor() -> None:
    only = container("Deployment")
    ports = {one["name"]: str(one["containerPort"]) for one in only["ports"]}
    flags = dict(word.partition("=")[::2] for word in only["args"])
    assert ports == {
        "grpc": flags["--port"], "page": flags["--http-port"], "metrics": flags["--metrics-port"],
    }  # fmt: skip
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert only[probe]["httpGet"] == {"path": "/healthz", "port": "page", "scheme": "HTTPS"}
    service = one_of(base(), "Service")
    assert {str(one["port"]) for one in service["spec"]["ports"]} == set(ports.values())
    assert service["spec"]["selector"].items() <= (
        pods(base())["Deployment"]["metadata"]["labels"].items()
    )
    assert (
        f"--coordinator={service['metadata']['name']}:{ports['grpc']}" in container("Job")["args"]
    )
    monitor = one_of(base(), "ServiceMonitor")["spec"]
    assert monitor["endpoints"][0]["port"] in ports
    # the alert on up{job="loadgen"} counts on the operator's naming jobs after services
    assert service["metadata"]["name"] == "loadgen"


def test_networks_are_closed_but_for_what_is_needed() -> None:
    service = one_of(base(), "NetworkPolicy", "loadgen-service")["spec"]
    worker = one_of(base(), "NetworkPolicy", "loadgen-worker")["spec"]
    for policy in (service, worker):
        assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert service["egress"] == []  # it never talks to a SUT
    assert worker["ingress"] == []
    names = {rule["port"] for one in service["ingress"] for rule in one["ports"]}
    assert names == {"grpc", "page", "metrics"}
    for policy, kind in ((service, "Deployment"), (worker, "Job")):
        labels = pods(base())[kind]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()


def test_no_secret_stands_in_the_tree() -> None:
    assert not [one for one in base() if one["kind"] == "Secret"]
    assert "secrets/" in (FOLDER / "example/.gitignore").read_text()
    assert not [word for kind in pods(base()) for word in container(kind).get("env", [])]


def test_rules_are_those_of_prometheus() -> None:
    spec = importlib.util.spec_from_file_location("make_rules", FOLDER / "make_rules.py")
    assert spec is not None
    assert spec.loader is not None
    making = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(making)
    text = (FOLDER / "base/rules.yaml").read_text()
    assert text == making.rules_as_resource(), "run python deploy/kubernetes/make_rules.py"
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    assert yaml.safe_load(text)["spec"] == rules


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in reversed(processes):
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def on_this_host(kind: str, secrets: Path, results: Path, address: str) -> list[str]:
    """A container's command, with its mounts and its names put here."""
    places = {
        "/etc/loadgen/tokens": str(secrets),
        "/etc/loadgen/tls": str(secrets),
        "=/results": f"={results}",
        "=0.0.0.0": "=127.0.0.1",
        "--port=7440": "--port=0",
        "--http-port=7441": "--http-port=0",
        "--metrics-port=7442": "--metrics-port=0",
        "=loadgen:7440": f"={address}",
        "none.invalid:0": "127.0.0.1:1",
    }
    words = []
    for word in container(kind)["args"]:
        for old, new in places.items():
            word = word.replace(old, new)
        words.append(word)
    return [sys.executable, "-m", "loadgen_service", *words]


def test_commands_and_secrets_of_the_example_work_together(
    secrets: Path, tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "LOADGEN_TOKEN"}
    said = tmp_path / "said"
    with open(said, "w") as file:
        command = on_this_host("Deployment", secrets, tmp_path / "results", "")
        started.append(
            subprocess.Popen(command, stdout=file, stderr=file, text=True, env=environment)
        )
    service = awaited(said, "ready on ")
    metrics = awaited(said, "metrics on https://", "/metrics")
    command = on_this_host("Job", secrets, tmp_path, service)
    started.append(
        subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
    )
    trusting = ssl.create_default_context(cafile=str(secrets / "ca.crt"))
    asking = urllib.request.Request(
        f"https://{metrics}/metrics",
        headers={"authorization": f"Bearer {(secrets / 'reader').read_text()}"},
    )
    with urllib.request.urlopen(asking, timeout=10, context=trusting) as answer:
        assert "loadgen_build_info" in answer.read().decode()
    # it is the worker that looks for the SUT, so its answer comes through all three
    command = [
        sys.executable, "-m", "loadgen_service", "run", "--service", service,
        "--service-tls-ca", str(secrets / "ca.crt"), "--token-file", str(secrets / "user"),
        "--sut", "grpc://127.0.0.1:1", "--model", "m", "--quiet",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=90, env=environment)
    assert ran.returncode == 2, ran.stderr
    assert "127.0.0.1:1" in ran.stderr
    assert "--allow-sut" not in ran.stderr


def awaited(said: Path, before: str, after: str = "\n") -> str:
    """What stands between two texts in a program's output, once it does."""
    deadline = time.monotonic() + READY_S
    while True:
        _, found, rest = said.read_text().partition(before)
        if found and after in rest:
            return rest.partition(after)[0].strip()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.1)
