"""A Redis Cluster of three processes of the tests' own, without replicas."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from keyturn.server.revocation.redis_entries import MARKER
from tests.servers import free_port

from .redis_process import RedisProcess

SLOTS = 16_384
START_SECONDS = 30.0


class Cluster:
    """Three primaries; `owner` is the one whose slot the list's keys are in."""

    def __init__(self, nodes: list[RedisProcess]) -> None:
        self.nodes = nodes
        self.slot = int(nodes[0].do("CLUSTER", "KEYSLOT", MARKER))

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    @property
    def owner(self) -> RedisProcess:
        return next(node for node in self.nodes if self._owns(node))

    @property
    def others(self) -> list[RedisProcess]:
        return [node for node in self.nodes if node is not self.owner]

    def move(self, target: RedisProcess) -> None:
        """Gives the list's slot, and what is in it, to another process."""
        source = self.owner
        ids = {node: node.do("CLUSTER", "MYID").decode() for node in (source, target)}
        target.do("CLUSTER", "SETSLOT", self.slot, "IMPORTING", ids[source])
        source.do("CLUSTER", "SETSLOT", self.slot, "MIGRATING", ids[target])
        keys = source.do("CLUSTER", "GETKEYSINSLOT", self.slot, 1000)
        if keys:
            source.do("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source, *self.nodes):
            node.do("CLUSTER", "SETSLOT", self.slot, "NODE", ids[target])

    @property
    def whole(self) -> bool:
        """Whether every process knows of all slots."""
        return all(self._well(node) for node in self.nodes)

    def _owns(self, node: RedisProcess) -> bool:
        # Whoever does not own the slot points elsewhere, without looking for the key.
        mine = node.do("CLUSTER", "MYID")
        for start, end, primary, *_ in node.do("CLUSTER", "SLOTS"):
            if start <= self.slot <= end:
                return bool(primary[2] == mine)
        return False

    @staticmethod
    def _well(node: RedisProcess) -> bool:
        said = node.do("CLUSTER", "INFO")
        return "cluster_state:ok" in str(said) and "cluster_known_nodes:3" in str(said)


@contextmanager
def running_cluster(directory: Path) -> Iterator[Cluster]:
    """Three processes that know each other, each with a third of the slots."""
    with ExitStack() as stack:
        nodes, buses = [], []
        for number in range(3):
            home = directory / str(number)
            home.mkdir()
            bus = str(free_port())
            options = ["--cluster-enabled", "yes", "--cluster-port", bus]
            # The slots of a process that is away are not the list's.
            options += ["--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"]
            node = RedisProcess(home, *options)
            node.start()
            stack.callback(node.kill)
            nodes.append(node)
            buses.append(bus)
        for number, (node, bus) in enumerate(zip(nodes, buses, strict=True)):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            node.do("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number:
                nodes[0].do("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        made = Cluster(nodes)
        deadline = time.monotonic() + START_SECONDS
        while not made.whole:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield made
