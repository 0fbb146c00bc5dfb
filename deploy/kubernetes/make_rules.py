"""Writes base/rules.yaml: deploy/prometheus/rules.yml as the Prometheus operator wants it.

python deploy/kubernetes/make_rules.py
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
HEAD = """\
# Made by make_rules.py from deploy/prometheus/rules.yml; change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: loadgen
spec:
"""


def rules_as_resource() -> str:
    """The text of rules.yaml: the rules, line by line, under ``spec``."""
    rules = (HERE.parent / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    return HEAD + "".join(f"  {line}\n" if line else "\n" for line in rules.splitlines())


if __name__ == "__main__":
    (HERE / "base" / "rules.yaml").write_text(rules_as_resource(), encoding="utf-8")
