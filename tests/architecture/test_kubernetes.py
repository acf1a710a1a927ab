"""The manifests for Kubernetes are valid, agree with each other, with the image and with the settings."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.bootstrap import server
from app.config import Settings, load
from tests.support.compose import manual_lines
from tests.support.sources import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
SECRET = {"root.key": "shk_" + "k" * 40, "database.url": "postgresql://swarmhold@postgres/swarmhold"}
IMAGE = {"SWARMHOLD_HOST": "0.0.0.0", "SWARMHOLD_PORT": "7777", "SWARMHOLD_LOG_FORMAT": "json"}


def _read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


KUSTOMIZATION = _read("kustomization.yaml")
NAMES = KUSTOMIZATION["resources"]
POD = _read("deployment.yaml")["spec"]["template"]["spec"]
[NODE] = POD["containers"]


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_is_valid(name: str) -> None:
    """By the schema of its kind in the latest version, without fields that it does not have."""
    assert kubernetes_validate.validate(_read(name), kubernetes_validate.latest_version(), strict=True)


def test_everything_is_listed_and_selects_the_nodes() -> None:
    """Each file is applied; Service, budget and policy are for the pods of the Deployment."""
    assert {path.name for path in FOLDER.glob("*.yaml")} == {*NAMES, "kustomization.yaml"}
    deployment = _read("deployment.yaml")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert _read("service.yaml")["spec"]["selector"] == labels
    assert _read("disruption-budget.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert _read("network-policy.yaml")["spec"]["podSelector"]["matchLabels"] == labels
    [rule] = _read("ingress.yaml")["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": _read("service.yaml")["metadata"]["name"], "port": {"name": "http"}}
    assert KUSTOMIZATION["images"][0]["name"] == NODE["image"]


def test_three_nodes_are_replaced_without_a_gap() -> None:
    """New ones come first, a drain of machines takes one at a time, and each has the time that its stop takes."""
    spec = _read("deployment.yaml")["spec"]
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]["maxUnavailable"]) == (3, 0)
    assert _read("disruption-budget.yaml")["spec"]["maxUnavailable"] == 1
    settings = Settings()
    stop_s = settings.cluster.drain_ms / 1000 + server._MARK_S + settings.shutdown_grace.total_seconds()
    assert POD["terminationGracePeriodSeconds"] >= max(20, stop_s)


def test_probes_ask_what_they_have_to() -> None:
    """Only a process that does not respond is restarted; a node that is not ready gets no requests within its drain."""
    probes = {name: NODE[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["httpGet"]["path"] for name, probe in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {"http"}
    assert [port["containerPort"] for port in NODE["ports"]] == [7777]
    readiness = probes["readiness"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < Settings().cluster.drain_ms / 1000
    assert readiness["timeoutSeconds"] > 3, "a database that hangs is told after three seconds"


def test_a_pod_is_confined() -> None:
    """No root, no rights, no writable root file system, no variables of Services, no token of the cluster."""
    context, own = POD["securityContext"], NODE["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["fsGroup"]) == (True, 10001, 10001)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert (POD["enableServiceLinks"], POD["automountServiceAccountToken"]) == (False, False)
    assert NODE["resources"]["limits"]["memory"]
    assert {"cpu", "memory"} == set(NODE["resources"]["requests"])


def test_settings_and_secret_fit(tmp_path: Any) -> None:
    """Every variable is a setting; the secret's files are those that are mounted and that the documents make."""
    [generated] = KUSTOMIZATION["secretGenerator"]
    files = dict(entry.split("=") for entry in generated["files"])
    lines = manual_lines("kubectl apply", document="deploying.md")
    [mounted] = [volume["secret"] for volume in POD["volumes"] if "secret" in volume]
    assert (mounted["secretName"], mounted["defaultMode"]) == (generated["name"], 0o440)
    assert set(files) == set(SECRET)
    assert [name for name in files.values() if f"deploy/kubernetes/{name}" not in lines] == []
    assert "/deploy/kubernetes/secrets/" in (ROOT / ".gitignore").read_text().splitlines()

    for name, text in SECRET.items():
        (tmp_path / name).write_text(text)
    given = {one["name"]: one.get("value", "10.0.0.7") for one in NODE["env"] if one["name"] != "POD_IP"}
    given = {name: value.replace("$(POD_IP)", "10.0.0.7") for name, value in given.items()}
    given = {name: value.replace("/etc/swarmhold", str(tmp_path)) for name, value in given.items()}
    settings = load(environ={**IMAGE, **given}).settings
    assert settings.store_url == SECRET["database.url"]
    assert settings.root_key_path == tmp_path / "root.key"
    assert settings.cluster.node_url == "http://10.0.0.7:7777"
    paths = {mount["mountPath"] for mount in NODE["volumeMounts"]}
    assert str(settings.data_dir.parent) in paths, "the folder of a volume may be written by its group"


def test_long_polls_streams_and_sockets_pass_the_ingress() -> None:
    """Nothing is buffered, and nothing ends before the longest hold."""
    prefix = "nginx.ingress.kubernetes.io/"
    given = _read("ingress.yaml")["metadata"]["annotations"]
    set_ = {name.removeprefix(prefix): value for name, value in given.items()}
    longest_s = Settings().engine.longest_hold_ms / 1000
    assert (set_["proxy-buffering"], set_["proxy-request-buffering"], set_["proxy-body-size"]) == ("off", "off", "0")
    assert float(set_["proxy-read-timeout"]) > longest_s
    assert float(set_["proxy-send-timeout"]) > longest_s
    assert "non_idempotent" not in set_["proxy-next-upstream"]
