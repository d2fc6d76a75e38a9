"""Grafana dashboards: declared, built with Grafana's own builders, pushed and annotated."""
