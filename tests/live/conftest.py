"""Servers as subprocesses."""

from tests.live_server import live, two_nodes

__all__ = ["live", "two_nodes"]
