"""The alert rules for the Prometheus operator: deploy/prometheus/alerts.yaml, wrapped up.

Whoever changes the rules changes them there, and runs `scripts/kubernetes.sh rules`.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
RULES = ROOT / "deploy/kubernetes/components/prometheus-operator/rules.yaml"

HEAD = """\
# Made of deploy/prometheus/alerts.yaml by `scripts/kubernetes.sh rules`: change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tonemill
spec:
"""


def made() -> str:
    """The manifest, with the rules as they are written, their comments included."""
    lines = ALERTS.read_text().split("\ngroups:\n", 1)[1].splitlines()
    return HEAD + "  groups:\n" + "".join(f"  {line}".rstrip() + "\n" for line in lines)


if __name__ == "__main__":
    RULES.write_text(made())
