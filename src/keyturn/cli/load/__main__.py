"""`python -m keyturn.cli.load`: jobs on stdin, one a line, as JSON; for each, what was measured.

A line `stop` ends the job at work early, with what it has. It ends when its stdin does.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import ssl
import sys
import threading

from .generator import Generator
from .jobs import Job

STOP = "stop"


def context_for(job: Job) -> ssl.SSLContext | None:
    """Trusts whom all commands trust, and checks names."""
    if not job.tls:
        return None
    import httpx

    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def main() -> None:
    """Works until stdin ends."""
    # Ctrl-C is for whoever started it, who then says `stop`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    jobs: queue.SimpleQueue[Generator] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=[jobs], daemon=True).start()
    while True:
        try:
            said = jobs.get().run().dumps()
        except OSError as error:
            said = json.dumps({"failed": str(error)})
        print(said, flush=True)
        gc.collect()


def _listen(jobs: queue.SimpleQueue[Generator]) -> None:
    latest: Generator | None = None
    for line in sys.stdin:
        if line.strip() != STOP:
            job = Job(**json.loads(line))
            latest = Generator(job, context_for(job))
            jobs.put(latest)
        elif latest is not None:
            latest.stop()
    os._exit(0)  # also in the middle of a job: nobody would hear of it


if __name__ == "__main__":
    main()
