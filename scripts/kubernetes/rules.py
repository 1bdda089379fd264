"""The alert rules for the Prometheus operator: those of deploy/prometheus, wrapped up.

Whoever changes the rules changes them there, and runs `scripts/kubernetes.sh rules`.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
COMPONENTS = ROOT / "deploy/kubernetes/components"
# Each file of rules, what it becomes, and what the object is called.
FILES = [
    ("alerts.yaml", COMPONENTS / "prometheus-operator/rules.yaml", "tonemill"),
    ("backup.yaml", COMPONENTS / "backup/alerts/rules.yaml", "tonemill-backup"),
]


def made(source: str, name: str) -> str:
    """The manifest, with the rules as they are written, their comments included."""
    head = f"""\
# Made of deploy/prometheus/{source} by `scripts/kubernetes.sh rules`: change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {name}
spec:
  groups:
"""
    lines = (PROMETHEUS / source).read_text().split("\ngroups:\n", 1)[1].splitlines()
    return head + "".join(f"  {line}".rstrip() + "\n" for line in lines)


if __name__ == "__main__":
    for source, manifest, name in FILES:
        manifest.write_text(made(source, name))
