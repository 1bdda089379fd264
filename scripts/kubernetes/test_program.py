"""Every command, option, variable, port, probe and path in the manifests is the program's.

The program is asked, not its sources: `--help` has what was really built, whatever made it, and a
process that starts with a container's settings and answers its probes has understood them.
"""

import json
import re
import subprocess
import tempfile
import unittest
from functools import cache
from pathlib import Path

import manifests
from manifests import of_kind, pod_of
from processes import TONEMILL, Redis, Tonemill, environment
from test_wiring import OURS, port_numbers, settings, way_of

# Commands that the manifests must use.
COMMANDS = {("api",), ("worker",), ("notifier",)} | {
    ("admin", word) for word in ("migrate", "backup", "verify", "restore")
}
# Settings of libraries, which no help tells of.
OF_LIBRARIES = ("OTEL_", "AWS_", "SSL_CERT_")
DOCKERFILE = manifests.ROOT / "deploy/Dockerfile"


@cache
def help_of(words: tuple[str, ...]) -> str | None:
    """What the program says of a command, if it has it."""
    said = subprocess.run(
        [TONEMILL, *words, "--help"], capture_output=True, text=True, check=False, env=environment()
    )
    return said.stdout if said.returncode == 0 else None


def containers():
    """Each container that runs the program: its overlay's objects, its command's words, itself."""
    for name in manifests.NAMES:
        things = manifests.rendered(name)
        for thing in things:
            for container in (pod_of(thing) or {"spec": {"containers": []}})["spec"]["containers"]:
                if re.search(r"(^|/)tonemill(-worker)?(:|$)", container["image"]):
                    program, *rest = container["command"] + container.get("args", [])
                    assert program == "tonemill", program
                    words = tuple(word for word in rest if re.fullmatch("[a-z]+", word))
                    yield name, things, words, container


class Help(unittest.TestCase):
    def test_commands_options_and_variables_are_known(self):
        seen = set()
        for name, things, words, container in containers():
            seen.add(words)
            with self.subTest(name, command=" ".join(words)):
                text = help_of(words)
                self.assertIsNotNone(text, "there is no such command")
                options = set(re.findall(r"(?<!\S)(--[a-z0-9-]+)", text))
                used = {
                    word.split("=")[0] for word in container["command"] if word.startswith("--")
                }
                self.assertLessEqual(used, options)
                known = set(re.findall(r"\[env:\s+(\w+)", text))
                asked = set(settings(things, container)) | {
                    one["name"] for one in container.get("env", [])
                }
                strange = {one for one in asked - known if not one.startswith(OF_LIBRARIES)}
                self.assertEqual(strange, set())
        self.assertLessEqual(COMMANDS, seen)

    def test_settings_of_the_bucket_are_understood(self):
        for name, things, words, container in containers():
            if words != ("api",):
                continue
            with self.subTest(name):
                keys = {one["name"]: "x" for one in container["env"] if "_S3_" in one["name"]}
                said = subprocess.run(
                    [TONEMILL, "config", "check"],
                    capture_output=True,
                    text=True,
                    check=False,
                    env=environment() | settings(things, container) | keys,
                )
                self.assertEqual(said.returncode, 0, said.stderr)

    def test_images_are_built_here(self):
        text = DOCKERFILE.read_text()
        stages = set(re.findall(r"^FROM .* AS (\S+)$", text, re.MULTILINE))
        self.assertLessEqual({"tonemill", "tonemill-worker"}, stages)
        self.assertIn("\nUSER 10001", text)
        for name, _, words, container in containers():
            named = {one["name"] for one in container.get("env", [])}
            if words in (("api",), ("worker",)) and "TONEMILL_S3_ACCESS_KEY_ID" not in named:
                # By the role of a service account.
                self.assertGreaterEqual(text.count("--features aws-credentials"), 2, name)


class Running(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.redis = self.enterContext(Redis(self.folder))

    def started(self, name: str, component: str) -> tuple[Tonemill, dict]:
        """The process of a Deployment, and its container."""
        things = manifests.rendered(name)
        pod = pod_of(of_kind(things, "Deployment")[component])
        [container] = pod["spec"]["containers"]
        said = settings(things, container)
        process = Tonemill(container["command"][1:], said, self.folder, self.redis)
        # Where it is told to listen is where the pod is asked.
        address = said["TONEMILL_LISTEN" if component == "api" else "TONEMILL_ADMIN"]
        self.assertEqual([f"0.0.0.0:{port}" for port in port_numbers(pod).values()], [address])
        return self.enterContext(process), container

    def test_processes_start_and_answer_their_probes(self):
        for name in manifests.NAMES:
            for component in OURS:
                with self.subTest(name, component=component):
                    process, container = self.started(name, component)
                    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                        # Who asks for no path connects, as whoever asks for one does.
                        path = way_of(container[probe]).get("path", "/livez")
                        process.wait_for(
                            path, lambda path=path: process.status(path) == 200 or None
                        )
                    self.assertIn(process.status("/no-such-path"), (401, 404))
                    monitor = of_kind(manifests.rendered(name), "ServiceMonitor").get(component)
                    for end in monitor["spec"]["endpoints"] if monitor else []:
                        self.assertEqual(process.status(end["path"]), 200)

    def test_keda_asks_for_what_there_is(self):
        api, _ = self.started("prod", "api")
        triggers = of_kind(manifests.rendered("prod"), "ScaledObject")["worker"]["spec"]["triggers"]
        streams = {one["metadata"]["stream"] for one in triggers if one["type"] == "redis-streams"}

        def all_streams():
            keys = set(self.redis.ask("KEYS", "*:jobs:*").split())
            return keys if keys >= streams else None

        self.assertEqual(api.wait_for("streams", all_streams), streams)
        self.assertEqual({self.redis.ask("XLEN", stream) for stream in streams}, {"0"})
        [query] = [one["metadata"]["query"] for one in triggers if one["type"] == "prometheus"]
        [metric] = re.findall(r"tonemill_\w+", query)
        [labels] = re.findall(r"by \(([^)]*)\)", query)
        sample = re.compile(rf"^{metric}\{{([^}}]*)\}} ", re.MULTILINE)
        found = api.wait_for(
            metric,
            lambda: (
                sample.search(api.get("/metrics")[1]) if api.status("/metrics") == 200 else None
            ),
        )
        names = set(re.findall(r'(\w+)="', found[1]))
        self.assertEqual({label.strip() for label in labels.split(",")}, names)

    def test_users_reach_what_is_theirs_and_nothing_else(self):
        api, _ = self.started("prod", "api")
        api.wait_for("/livez", lambda: api.status("/livez") == 200 or None)
        paths = json.loads(api.get("/openapi.json")[1])["paths"]
        inside = {"/livez", "/readyz", "/healthz", "/metrics"}
        self.assertLess(inside, set(paths))
        for routes in (prod_routes(), aws_routes()):
            reached = {path for path in paths if leads(routes, path)}
            self.assertEqual(set(paths) - reached, inside)
            for path in ("/", "/docs", "/docs/page.js", "/openapi.json"):
                self.assertTrue(leads(routes, path), path)
            for kind, path in routes:
                # A route that leads nowhere is a mistake as well.
                tried = [
                    one
                    for one in [*paths, "/", "/docs", "/openapi.json"]
                    if leads([(kind, path)], one)
                ]
                self.assertTrue(tried, path)


def prod_routes() -> list[tuple[str, str]]:
    """What the Gateway lets through."""
    route = of_kind(manifests.rendered("prod"), "HTTPRoute")["tonemill"]
    [rule] = route["spec"]["rules"]
    return [(match["path"]["type"], match["path"]["value"]) for match in rule["matches"]]


def aws_routes() -> list[tuple[str, str]]:
    """What the Ingress lets through."""
    [rule] = of_kind(manifests.rendered("aws"), "Ingress")["tonemill"]["spec"]["rules"]
    return [(path["pathType"], path["path"]) for path in rule["http"]["paths"]]


def leads(routes: list[tuple[str, str]], path: str) -> bool:
    """Whether a path is let through: prefixes are of whole segments."""
    return any(
        path == value or kind != "Exact" and path.startswith(f"{value.rstrip('/')}/")
        for kind, value in routes
    )


if __name__ == "__main__":
    unittest.main()
