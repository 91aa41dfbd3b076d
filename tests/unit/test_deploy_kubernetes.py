"""What deploy/kubernetes promises, as far as it can be held without a cluster."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.policy_sources import read_sources
from reconciler.cli import health
from reconciler.daemon import probes
from reconciler.settings import load_settings
from tests import peers
from tests.unit.test_deploy_docker import COMPOSE, finals

FOLDER = peers.ROOT / "deploy" / "kubernetes"
LONGEST_CALL_SECONDS = 30
"""Of a provider, beyond the time that the running cycle has to end."""


def objects() -> dict[str, dict[str, Any]]:
    """Return every object of the manifests by its kind."""
    files = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    texts = [(FOLDER / name).read_text() for name in files if name.endswith(".yaml")]
    return {one["kind"]: one for text in texts for one in yaml.safe_load_all(text)}


DEPLOYMENT = objects()["Deployment"]["spec"]
POD: dict[str, Any] = DEPLOYMENT["template"]["spec"]
DAEMON, OPA = POD["containers"]


def test_there_is_one_writer() -> None:
    """The old pod is gone before the new one comes, and the volume lets one pod in."""
    assert (DEPLOYMENT["replicas"], DEPLOYMENT["strategy"]) == (1, {"type": "Recreate"})
    assert objects()["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_the_daemon_gets_its_time_to_drain() -> None:
    """The pod is killed only after the running cycle had its time and one call of a provider."""
    drain = load_settings(FOLDER / "access-reconciler.yaml").daemon.drain_seconds
    assert POD["terminationGracePeriodSeconds"] > drain + LONGEST_CALL_SECONDS


@pytest.mark.parametrize(
    ("probe", "question"), [("startupProbe", "started"), ("readinessProbe", "ready"), ("livenessProbe", "live")]
)
def test_each_probe_asks_what_the_daemon_answers(probe: str, question: str) -> None:
    """It runs the image's own command, whose question has an address, and waits for longer than the command does."""
    command = DAEMON[probe]["exec"]["command"]
    assert [command[0]] == yaml.safe_load(finals()[-1]["ENTRYPOINT"])
    assert command[1:] == ["health", question]
    assert f'"{health.Question(question).path}"' in Path(probes.__file__).read_text(encoding="utf-8")
    assert DAEMON[probe]["timeoutSeconds"] > health.ANSWER_SECONDS


def test_nobody_is_restarted_for_a_slow_start() -> None:
    """A start may take ten minutes before the pod counts as broken."""
    probe = DAEMON["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 600


def test_each_container_is_locked_down() -> None:
    """As the namespace demands: no root, nothing to write, no capability, no way to more, no token of the cluster."""
    assert objects()["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] == 65532
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    for container in POD["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        assert "ports" not in container


def test_folders_are_mounted_and_each_is_there() -> None:
    """A subPath is never updated, so there is none; every mount has its volume, every volume a mount."""
    mounts = [mount for container in POD["containers"] for mount in container["volumeMounts"]]
    assert [mount for mount in mounts if "subPath" in mount or "subPathExpr" in mount] == []
    assert {mount["name"] for mount in mounts} == {volume["name"] for volume in POD["volumes"]}


def test_the_configuration_names_what_is_mounted() -> None:
    """It loads; state, roster, policies and token lie in folders of the pod, and the engine is the one beside it."""
    settings = load_settings(FOLDER / "access-reconciler.yaml")
    mounted = {mount["mountPath"] for mount in DAEMON["volumeMounts"]}
    named = (settings.state_dir, settings.roster.path.parent, settings.policies.parent, settings.engine.token_file)
    assert {str(path) for path in named[:3]} <= mounted
    assert settings.engine.token_file is not None
    assert str(settings.engine.token_file.parent) in mounted
    assert settings.engine.url == "http://127.0.0.1:8181"
    assert settings.providers == {}
    assert settings.daemon.health_port == health.DEFAULT_PORT


def test_the_policies_of_a_config_map_are_the_policies(tmp_path: Path) -> None:
    """In folders as the manifest says and swapped as the kubelet does, they are the revision that they came from."""
    volume = next(one for one in POD["volumes"] if one["name"] == "policies")["configMap"]
    for revision in ("..one", "..two"):
        for item in volume["items"]:
            place = tmp_path / revision / item["path"]
            place.parent.mkdir(parents=True, exist_ok=True)
            assert place.name == item["key"]
            place.write_bytes((peers.ROOT / "policies" / item["path"]).read_bytes())
    (tmp_path / "..data").symlink_to("..two")
    (tmp_path / "access").symlink_to("..data/access")
    told = load_settings(FOLDER / "access-reconciler.yaml").policies.name
    for place in (tmp_path / told, tmp_path):
        assert load_policies(place).digest == load_policies(peers.ROOT / "policies").digest
        assert read_sources(place) == read_sources(peers.ROOT / "policies")


def test_the_network_is_closed_but_for_names_and_tls() -> None:
    """Nobody gets in; out go DNS and 443, and the cloud's metadata address is no destination."""
    policy = objects()["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= DEPLOYMENT["template"]["metadata"]["labels"].items()
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert policy["ingress"] == []
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443}
    blocks = [to["ipBlock"] for rule in policy["egress"] for to in rule["to"] if "ipBlock" in to]
    assert [block for block in blocks if "169.254.0.0/16" not in block["except"]] == []


def test_the_engine_is_run_as_beside_docker() -> None:
    """The same image and the same arguments, so that what is tried once holds for both; its token is a hash only."""
    opa = COMPOSE["services"]["opa"]
    assert (OPA["image"], OPA["args"]) == (opa["image"], opa["command"])
    (variable,) = (one for one in OPA["env"] if one["name"] == "ACCESS_RECONCILER_TOKEN_SHA256")
    assert variable["valueFrom"]["secretKeyRef"]["key"] == "token-sha256"


def test_kustomize_renders_it() -> None:
    """Where kubectl is, it joins the parts: every ConfigMap that is made here is named by the pod as it was made."""
    kubectl = peers.find("kubectl")
    if kubectl is None:
        return
    done = subprocess.run([kubectl, "kustomize", FOLDER], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    made = {one["metadata"]["name"] for one in rendered if one["kind"] == "ConfigMap"}
    (deployment,) = (one for one in rendered if one["kind"] == "Deployment")
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    named = {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}
    assert len(made) == 2
    assert named - made == {"access-reconciler-roster", "access-reconciler-policies"}
    assert {one["metadata"].get("namespace", "access-reconciler") for one in rendered} == {"access-reconciler"}
