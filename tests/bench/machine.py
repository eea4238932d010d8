"""The machine: its cores, who runs on which, and the processor time and memory of a process."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cores:
    """Who runs where. `service` is None where nothing can be pinned, or there is one core only."""

    service: int | None
    others: tuple[int, ...] = ()

    @classmethod
    def of_this_process(cls) -> Cores:
        """The service gets the first core this process may use, all else the others."""
        if sys.platform != "linux":
            return cls(None)
        first, *others = sorted(os.sched_getaffinity(0))
        return cls(first, tuple(others)) if others else cls(None)

    def leave_the_service_alone(self) -> None:
        """Keeps this process, and all it starts, off the service's core."""
        if sys.platform == "linux" and self.service is not None:
            os.sched_setaffinity(0, self.others)

    @contextlib.contextmanager
    def all_for_all(self) -> Iterator[Cores]:
        """Lets this process, and all it starts in the block, run on every core."""
        if sys.platform != "linux" or self.service is None:
            yield self
            return
        os.sched_setaffinity(0, {self.service, *self.others})
        try:
            yield Cores(None)
        finally:
            self.leave_the_service_alone()

    def __str__(self) -> str:
        if self.service is None:
            return "not pinned: service, database and load share the cores"
        others = ", ".join(map(str, self.others))
        return f"service and bare route on core {self.service}; load and database on {others}"


def pin(core: int | None) -> None:
    """Pins this process; call it before any thread is started."""
    if sys.platform == "linux" and core is not None:
        os.sched_setaffinity(0, {core})


def cpu_seconds(pid: int) -> float | None:
    """Processor time that a process has used so far, in seconds; None where it cannot be known."""
    fields = _stat(pid)
    return None if fields is None else (int(fields[11]) + int(fields[12])) / _ticks()


def family_cpu(roots: Mapping[str, int]) -> dict[str, float]:
    """The same for each of these processes with all below it, those that have ended too.

    What cannot be known is left out.
    """
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        if (fields := _stat(pid)) is not None:
            children.setdefault(int(fields[1]), []).append(pid)
            used[pid] = sum(map(int, fields[11:15])) / _ticks()
    found = {}
    for name, root in roots.items():
        if root in used:
            family = [root]
            for pid in family:
                family += children.get(pid, ())
            found[name] = sum(used[pid] for pid in family)
    return found


def resident(pid: int) -> int | None:
    """Bytes of memory that a process has, those it shares too; None where it cannot be known."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str] | None:
    """Its fields from the state on: the name in brackets before that may hold anything.

    The parent is the 2nd; user and system time are the 12th and 13th, those of children that were
    waited for the two after them.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()


def _ticks() -> float:
    return float(os.sysconf("SC_CLK_TCK"))


def description() -> dict[str, str | int]:
    """What a figure has to be read with."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
