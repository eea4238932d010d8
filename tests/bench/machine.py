"""The machine: its cores, who runs on which, and the processor time of a process."""

from __future__ import annotations

import os
import platform
import sys
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
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    # The name in brackets may hold anything; user and system time are the 12th and 13th after it.
    fields = stat.rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / float(os.sysconf("SC_CLK_TCK"))


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
