"""Whether objects are what Kubernetes and the operators take: strictly, an unknown field is a
mistake.

Kubernetes' own kinds are held against its JSON schemas, of the oldest version that is supported
and of the newest that is known. Those of operators are held against models that are generated
from the operators' own Go types, as their CRDs are: TypeScript finds fields that do not exist,
the models' validators everything else. Rules in CEL (x-kubernetes-validations) are evaluated by
neither.
"""

import json
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils
from referencing import Registry, Resource

# The oldest is the first that knows `preStop.sleep` without being asked to.
VERSIONS = ["1.30.0", kubernetes_validate.latest_version()]

# The package of each group of kinds.
MODELS = {
    "cert-manager.io": "cert-manager",
    "external-secrets.io": "external-secrets",
    "gateway.networking.k8s.io": "gateway-api",
    "keda.sh": "keda",
    "monitoring.coreos.com": "prometheus-operator",
}
VALIDATE = Path(__file__).with_name("validate.mjs")


def group_of(thing: dict) -> str:
    """The group of an object's kind; that of the oldest kinds has no name."""
    return thing["apiVersion"].rpartition("/")[0]


def mistakes(things: list[dict]) -> list[list[str]]:
    """What is wrong with each of the objects."""
    custom = [thing for thing in things if group_of(thing) in MODELS]
    found = iter(custom_mistakes(custom) if custom else [])
    return [next(found) if group_of(thing) in MODELS else core_mistakes(thing) for thing in things]


def core_mistakes(thing: dict) -> list[str]:
    """What is wrong with an object of a kind of Kubernetes' own."""
    found = []
    for version in VERSIONS:
        for mistake in validator(version, thing["kind"], thing["apiVersion"]).iter_errors(thing):
            found.append(f"{version}: {mistake.json_path}: {mistake.message}")
    return found


@cache
def validator(version: str, kind: str, api_version: str) -> jsonschema.Draft202012Validator:
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    # rbac.authorization.k8s.io/v1 is called rbac-v1.
    name = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = utils.schema_contents(f"{folder}/{kind.lower()}-{name}.json", version)
    return jsonschema.Draft202012Validator(schema, registry=definitions(folder, version))


@cache
def definitions(folder: str, version: str) -> Registry:
    contents = utils.schema_contents(f"{folder}/_definitions.json", version)
    return Resource.from_contents(contents) @ Registry()


def custom_mistakes(things: list[dict]) -> list[list[str]]:
    """What is wrong with each object of an operator's kinds."""
    # An empty folder whose modules are those that setup.sh installed.
    with tempfile.TemporaryDirectory() as folder:
        modules = Path(os.environ["NODE_MODULES"]).resolve()
        (Path(folder) / "node_modules").symlink_to(modules)
        found = [list(mistakes) for mistakes in validated(Path(folder), things)]
        for index, mistake in typed(Path(folder), modules, things):
            found[index].append(mistake)
    return found


def module_of(thing: dict) -> str:
    package = MODELS[group_of(thing)]
    return f"@kubernetes-models/{package}/{thing['apiVersion']}/{thing['kind']}"


def typed(folder: Path, modules: Path, things: list[dict]):
    """Mistakes that TypeScript finds, each with the index of its object: one object a line."""
    lines = [
        f'const o{index}: import("{module_of(thing)}").I{thing["kind"]} = {json.dumps(thing)};'
        for index, thing in enumerate(things)
    ]
    source = folder / "objects.mts"
    source.write_text("\n".join(lines) + "\nexport {};\n")
    command = [
        modules / ".bin/tsc",
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--pretty",
        "false",
        "--module",
        "nodenext",
        "--target",
        "es2022",
        "--types",
        "",
        source,
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    for line in said.stdout.splitlines():
        if where := re.match(r"objects\.mts\((\d+),\d+\): error (.*)", line):
            yield int(where[1]) - 1, where[2]
        elif not line.startswith(" "):
            raise RuntimeError(line)
    if said.stderr or said.returncode not in (0, 1, 2):
        raise RuntimeError(said.stderr or said.stdout)


def validated(folder: Path, things: list[dict]) -> list[list[str]]:
    """Mistakes that the models' validators find in each object."""
    script = folder / VALIDATE.name
    script.write_text(VALIDATE.read_text())
    things = [[module_of(thing), thing] for thing in things]
    said = subprocess.run(
        ["node", script], input=json.dumps(things), text=True, check=True, capture_output=True
    )
    return json.loads(said.stdout)
