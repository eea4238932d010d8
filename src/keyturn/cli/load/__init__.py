"""The load generator: what `keyturn bench` sends, and the project's own benchmark.

It runs as a process of its own (`python -m keyturn.cli.load`), so that nothing else is measured
with it, and needs the standard library alone; for https, httpx as well.
"""
