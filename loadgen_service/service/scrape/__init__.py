"""Fetches and parses Prometheus text of SUTs.

In: a metrics URL. Out: samples by name and label.
May import: service's own modules, core and errors.
"""
