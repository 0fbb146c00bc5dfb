"""What a service shows over HTTP: /metrics for Prometheus and the live page for people."""
