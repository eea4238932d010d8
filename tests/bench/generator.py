"""The load generator of `keyturn bench`, with the processor time of the servers beside it.

A process of its own: jobs on stdin, one a line, as JSON; what it measured on stdout.
"""

from __future__ import annotations

import gc
import json
import os
import sys

from keyturn.cli.load.generator import Generator
from keyturn.cli.load.jobs import Job
from tests.bench.machine import family_cpu


def main() -> None:
    """Does the jobs until stdin ends."""
    gc.disable()
    for line in sys.stdin:
        told = json.loads(line)
        watched: dict[str, int] = told.pop("watched")
        readings: list[dict[str, float]] = []
        generator = Generator(Job(**told))
        try:
            done = generator.run(lambda: readings.append(family_cpu(watched)))  # noqa: B023
        except OSError as error:
            said: dict[str, object] = {"failed": str(error)}
        else:
            before, after = readings
            said = {
                "requests": done.requests,
                "elapsed": done.elapsed,
                "p50": done.latencies.quantile(0.5),
                "p99": done.latencies.quantile(0.99),
                "errors": done.errors,
                "first_error": done.first_error,
                "generator_cpu": done.generator_cpu,
                "cpu": {name: used - before[name] for name, used in after.items()},
            }
        try:
            print(json.dumps(said), flush=True)
        except BrokenPipeError:  # the bench was killed
            os._exit(1)
        gc.collect()


if __name__ == "__main__":
    main()
