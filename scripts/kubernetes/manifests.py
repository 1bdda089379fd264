"""The manifests as a cluster gets them: each overlay, rendered by kustomize.

`KUBECTL` names a kubectl (1.29 or later); scripts/kubernetes.sh finds one.
"""

import os
import subprocess
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ROOT / "deploy/kubernetes/overlays"
NAMES = sorted(path.name for path in OVERLAYS.iterdir())


@cache
def rendered(name: str) -> list[dict]:
    """All objects of an overlay, the migration's included."""
    return [thing for part in (name, f"{name}/migrate") for thing in built(OVERLAYS / part)]


def built(folder: Path) -> list[dict]:
    """The objects of a kustomization."""
    command = [os.environ.get("KUBECTL", "kubectl"), "kustomize", str(folder)]
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    if said.returncode != 0:
        raise RuntimeError(f"{folder} does not render: {said.stderr}")
    return [thing for thing in yaml.safe_load_all(said.stdout) if thing]


@cache
def made_secrets() -> list[dict]:
    """The Secrets that dev's script prints."""
    script = OVERLAYS / "dev/secrets.sh"
    text = subprocess.run([str(script)], check=True, capture_output=True, text=True).stdout
    return [thing for thing in yaml.safe_load_all(text) if thing]


def called(thing: dict) -> str:
    """What an object is called in messages."""
    return f"{thing['kind']} {thing['metadata']['name']}"


def pod_of(thing: dict) -> dict | None:
    """The template of the pods that an object makes."""
    spec = thing.get("spec", {})
    if thing["kind"] in ("Deployment", "StatefulSet", "Job"):
        return spec["template"]
    if thing["kind"] == "CronJob":
        return spec["jobTemplate"]["spec"]["template"]
    return None


def of_kind(things: list[dict], kind: str) -> dict[str, dict]:
    """Objects of a kind, by their names."""
    return {thing["metadata"]["name"]: thing for thing in things if thing["kind"] == kind}


def matches(selector: dict, labels: dict) -> bool:
    """Whether a selector takes something with these labels."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In", rule
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True
