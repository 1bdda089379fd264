"""What the objects of an overlay say of each other is true: names, keys, ports, labels, and
numbers that have to fit together. No schema knows of it.
"""

import unittest
import urllib.parse

import manifests
import rules
import yaml
from manifests import called, matches, of_kind, pod_of

OURS = ["api", "worker", "notifier"]
# Whom each may reach, by the policies that let pods out.
WAYS = {
    "api": {"to-dns", "to-redis", "to-bucket", "to-ledger"},
    "worker": {"to-dns", "to-redis", "to-bucket"},
    "notifier": {"to-dns", "to-ledger", "to-mail", "to-webhooks"},
    "migrate": {"to-dns", "to-ledger"},
    "backup": {"to-dns", "to-ledger", "to-bucket"},
    "verify": {"to-dns", "to-bucket"},
    "restore": {"to-dns", "to-ledger", "to-bucket"},
}
# What KEDA's triggers know; their metadata has no schema. They are from KEDA's own book.
TRIGGERS = {
    "redis-streams": {"stream", "streamLength", "databaseIndex", "enableTLS"},
    "prometheus": {
        "serverAddress",
        "query",
        "threshold",
        "activationThreshold",
        "ignoreNullValues",
    },
}


def pods(things):
    """Each object that makes pods, with their template."""
    return [(thing, pod) for thing in things if (pod := pod_of(thing))]


def component(pod) -> str:
    return pod["metadata"]["labels"]["app.kubernetes.io/component"]


def settings(things, container) -> dict[str, str]:
    """The variables of a container, as far as no Secret holds them."""
    maps = of_kind(things, "ConfigMap")
    found = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]["data"]
    return found | {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}


def secret_keys(name, things) -> dict[str, set[str]]:
    """The keys of each Secret that there will be in an overlay."""
    if name == "dev":
        secrets = manifests.made_secrets()
        return {one["metadata"]["name"]: set(one["stringData"]) for one in secrets}
    return {
        one["spec"]["target"]["name"]: {data["secretKey"] for data in one["spec"]["data"]}
        for one in of_kind(things, "ExternalSecret").values()
    }


def in_each_overlay(check):
    """A test of one overlay, made one of all of them."""

    def run(self):
        for name in manifests.NAMES:
            with self.subTest(name):
                check(self, name, manifests.rendered(name))

    return run


class Wiring(unittest.TestCase):
    @in_each_overlay
    def test_there_are_no_two_of_a_name(self, _, things):
        names = [called(thing) for thing in things]
        self.assertEqual(len(names), len(set(names)))
        spaces = {thing["metadata"].get("namespace") for thing in things} - {None}
        self.assertEqual(spaces, set(of_kind(things, "Namespace")))

    @in_each_overlay
    def test_no_secret_is_in_the_repository(self, _, things):
        self.assertEqual(of_kind(things, "Secret"), {})

    @in_each_overlay
    def test_every_secret_that_is_asked_for_is_made(self, name, things):
        there = secret_keys(name, things)
        asked = [
            one["valueFrom"]["secretKeyRef"]
            for _, pod in pods(things)
            for container in pod["spec"]["containers"]
            for one in container.get("env", [])
            if "valueFrom" in one
        ]
        for auth in of_kind(things, "TriggerAuthentication").values():
            asked += auth["spec"]["secretTargetRef"]
        self.assertTrue(asked)
        for one in asked:
            self.assertIn(one["key"], there.get(one["name"], set()), one)
        asked_for = {(one["name"], one["key"]) for one in asked}
        self.assertEqual(asked_for, {(name, key) for name in there for key in there[name]})

    @in_each_overlay
    def test_workers_are_told_nothing_of_the_ledger(self, _, things):
        worker = of_kind(things, "Deployment")["worker"]
        [container] = pod_of(worker)["spec"]["containers"]
        secrets = {
            one["valueFrom"]["secretKeyRef"]["name"]
            for one in container["env"]
            if "valueFrom" in one
        }
        self.assertLessEqual(secrets, {"queue", "bucket"})
        for name, job in of_kind(things, "CronJob").items():
            if name == "restore":
                # It has to have both, and runs when somebody wants it to.
                self.assertTrue(job["spec"]["suspend"])
                continue
            keys = str(pod_of(job)["spec"]["containers"][0].get("env", []))
            self.assertNotIn("'bucket'", keys, "a worker's keys would open it")

    @in_each_overlay
    def test_selectors_find_pods_and_ports(self, _, things):
        everyone = [pod for _, pod in pods(things)]
        for service in of_kind(things, "Service").values():
            chosen = {"matchLabels": service["spec"]["selector"]}
            [pod] = [one for one in everyone if matches(chosen, one["metadata"]["labels"])]
            ports = port_numbers(pod)
            for port in service["spec"]["ports"]:
                self.assertIn(port["targetPort"], ports)
                self.assertEqual(port["port"], ports[port["targetPort"]])
        for monitor in of_kind(things, "ServiceMonitor").values():
            selector = monitor["spec"]["selector"]
            services = of_kind(things, "Service").values()
            [service] = [one for one in services if matches(selector, one["metadata"]["labels"])]
            names = {port["name"] for port in service["spec"]["ports"]}
            self.assertLessEqual({end["port"] for end in monitor["spec"]["endpoints"]}, names)
        for thing, pod in pods(things):
            labels = pod["metadata"]["labels"]
            if "selector" in thing["spec"]:
                self.assertTrue(matches(thing["spec"]["selector"], labels), called(thing))
            for spread in pod["spec"].get("topologySpreadConstraints", []):
                self.assertTrue(matches(spread["labelSelector"], labels), called(thing))
        for budget in of_kind(things, "PodDisruptionBudget").values():
            chosen = [
                one
                for one in everyone
                if matches(budget["spec"]["selector"], one["metadata"]["labels"])
            ]
            self.assertEqual(len(chosen), 1, called(budget))

    @in_each_overlay
    def test_scalers_have_targets(self, _, things):
        deployments = of_kind(things, "Deployment")
        for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
            for one in of_kind(things, kind).values():
                target = deployments[one["spec"]["scaleTargetRef"]["name"]]
                self.assertNotIn("replicas", target["spec"], "the next `apply` would undo it")

    @in_each_overlay
    def test_keda_counts_as_workers_do(self, name, things):
        if name == "dev":
            self.assertEqual(of_kind(things, "ScaledObject"), {})
            return
        worker = of_kind(things, "Deployment")["worker"]
        jobs = settings(things, pod_of(worker)["spec"]["containers"][0])["TONEMILL_JOBS"]
        triggers = of_kind(things, "ScaledObject")["worker"]["spec"]["triggers"]
        for trigger in triggers:
            about = trigger["metadata"]
            self.assertEqual(set(about), TRIGGERS[trigger["type"]], trigger["name"])
            self.assertEqual(about.get("streamLength", about.get("threshold")), jobs)
            if "query" in about:
                [space] = of_kind(things, "Namespace")
                self.assertEqual(about["query"].count(f'tonemill_jobs{{namespace="{space}"}}'), 1)
        streams = [trigger["metadata"].get("stream") for trigger in triggers]
        self.assertEqual(len(set(streams)), 4, streams)

    @in_each_overlay
    def test_probes_ask_ports_that_are_open(self, _, things):
        for thing, pod in pods(things):
            ports = port_numbers(pod)
            [container] = pod["spec"]["containers"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if component(pod) in OURS:
                    way = way_of(container[probe])
                    self.assertIn(way["port"], ports, called(thing))
                    # An API that is full does not answer requests, and is alive.
                    is_by_http = (component(pod), probe) != ("api", "livenessProbe")
                    self.assertEqual("path" in way, is_by_http, called(thing))
                elif probe in container and "tcpSocket" in container[probe]:
                    self.assertIn(container[probe]["tcpSocket"]["port"], ports, called(thing))

    @in_each_overlay
    def test_backups_are_where_they_are_looked_for(self, _, things):
        jobs = of_kind(things, "CronJob").values()
        commands = [pod_of(job)["spec"]["containers"][0]["command"] for job in jobs]
        self.assertLessEqual(len({command[3] for command in commands}), 1, commands)

    @in_each_overlay
    def test_who_is_told_to_end_has_the_time_for_it(self, _, things):
        for name in OURS:
            pod = pod_of(of_kind(things, "Deployment")[name])["spec"]
            [container] = pod["containers"]
            pause = (
                container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            )
            grace = int(settings(things, container)["TONEMILL_GRACE"])
            self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], pause + grace + 10, name)

    @in_each_overlay
    def test_pods_are_restricted(self, _, things):
        [space] = of_kind(things, "Namespace").values()
        level = "pod-security.kubernetes.io/enforce"
        self.assertEqual(space["metadata"]["labels"][level], "restricted")
        for thing, pod in pods(things):
            with self.subTest(called(thing)):
                self.restricted(pod)

    def restricted(self, pod):
        spec = pod["spec"]
        whole = spec["securityContext"]
        self.assertTrue(whole["runAsNonRoot"])
        self.assertGreater(whole["runAsUser"], 0)
        if component(pod) in WAYS:
            # The user of our images.
            self.assertEqual(whole["runAsUser"], 10001)
        self.assertEqual(whole["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertFalse(spec["automountServiceAccountToken"])
        self.assertFalse({"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec))
        for container in spec["containers"]:
            self.assertEqual(
                container["securityContext"],
                {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            )
            self.assertIn("memory", container["resources"]["limits"])
            self.assertEqual(set(container["resources"]["requests"]), {"cpu", "memory"})
        for volume in spec.get("volumes", []):
            self.assertLessEqual(set(volume) - {"name"}, {"emptyDir", "configMap"})
            if "emptyDir" in volume:
                self.assertIn("sizeLimit", volume["emptyDir"])

    @in_each_overlay
    def test_everybody_reaches_just_what_it_needs(self, _, things):
        policies = of_kind(things, "NetworkPolicy")
        deny = policies.pop("default-deny")["spec"]
        self.assertEqual(deny, {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
        known = set(WAYS) & {component(pod) for _, pod in pods(things)}
        self.assertLessEqual({*OURS, "migrate"}, known)
        for thing, pod in pods(things):
            labels = pod["metadata"]["labels"]
            out = {
                name
                for name, one in policies.items()
                if "Egress" in one["spec"]["policyTypes"]
                and matches(one["spec"]["podSelector"], labels)
            }
            self.assertEqual(out, WAYS.get(component(pod), {"to-dns"}), called(thing))
        for name, one in policies.items():
            for way in one["spec"].get("egress", []) + one["spec"].get("ingress", []):
                self.assertTrue(way.get("ports"), name)
                self.assertTrue(way.get("to") or way.get("from"), name)

    def test_who_reaches_out_is_let_in(self):
        things = manifests.rendered("dev")
        policies = of_kind(things, "NetworkPolicy")
        for name in ("to-redis", "to-bucket", "to-ledger", "to-mail"):
            [way] = policies[name]["spec"]["egress"]
            [peer] = way["to"]
            servers = [
                pod
                for _, pod in pods(things)
                if matches(peer["podSelector"], pod["metadata"]["labels"])
            ]
            [server] = servers
            entry = policies[component(server)]["spec"]
            self.assertTrue(matches(entry["podSelector"], server["metadata"]["labels"]))
            [let_in] = entry["ingress"]
            self.assertEqual(let_in["ports"], way["ports"])
            self.assertIn(way["ports"][0]["port"], port_numbers(server))
            self.assertEqual(
                let_in["from"][0]["podSelector"], policies[name]["spec"]["podSelector"]
            )

    @in_each_overlay
    def test_the_host_is_that_of_the_public_url(self, name, things):
        notifier = pod_of(of_kind(things, "Deployment")["notifier"])["spec"]["containers"][0]
        host = urllib.parse.urlsplit(settings(things, notifier)["TONEMILL_PUBLIC_URL"]).hostname
        hosts = set()
        for gateway in of_kind(things, "Gateway").values():
            hosts |= {listener["hostname"] for listener in gateway["spec"]["listeners"]}
        for route in of_kind(things, "HTTPRoute").values():
            hosts |= set(route["spec"]["hostnames"])
        for certificate in of_kind(things, "Certificate").values():
            hosts |= set(certificate["spec"]["dnsNames"])
        for ingress in of_kind(things, "Ingress").values():
            hosts |= {rule["host"] for rule in ingress["spec"]["rules"]}
        self.assertEqual(hosts, set() if name == "dev" else {host})

    @in_each_overlay
    def test_images_are_said_in_one_place(self, _, things):
        images = {}
        for _, pod in pods(things):
            for container in pod["spec"]["containers"]:
                images.setdefault(component(pod), container["image"])
        self.assertRegex(images["worker"], r"(^|/)tonemill-worker:[^:]+$")
        self.assertEqual(images.get("restore", images["worker"]), images["worker"])
        for name in {"api", "notifier", "migrate", "backup", "verify"} & set(images):
            self.assertEqual(
                images[name], images["worker"].replace("tonemill-worker:", "tonemill:")
            )
        self.assertFalse(
            [image for image in images.values() if image.endswith(":latest") or ":" not in image]
        )

    def test_alerts_are_those_of_prometheus(self):
        for source, manifest, name in rules.FILES:
            text = manifest.read_text()
            self.assertEqual(text, rules.made(source, name), "run scripts/kubernetes.sh rules")
            written = yaml.safe_load((rules.PROMETHEUS / source).read_text())
            self.assertEqual(yaml.safe_load(text)["spec"]["groups"], written["groups"])


def way_of(probe) -> dict:
    """Where a probe asks: a port, and by HTTP a path."""
    return probe.get("httpGet") or probe["tcpSocket"]


def port_numbers(pod) -> dict[str, int]:
    """The ports of a pod, by their names."""
    [container] = pod["spec"]["containers"]
    return {port["name"]: port["containerPort"] for port in container.get("ports", [])}


if __name__ == "__main__":
    unittest.main()
