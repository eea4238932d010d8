"""Keeps connections busy for a while, and counts what comes back."""

from __future__ import annotations

import contextlib
import itertools
import re
import selectors
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from .jobs import Job, Round
from .links import PATIENCE, Link

_TOKEN = b'"refresh_token":"'
#: Connections that are opened at the same time.
_OPENING = 16
#: How often it is looked whether to stop early, in seconds, while nothing comes.
_LOOK = 0.25


class Generator:
    """One job at work. `stop` ends it early, from any thread."""

    def __init__(self, job: Job, context: ssl.SSLContext | None = None) -> None:
        self._seconds = job.seconds
        self._first = job.first.encode("latin-1")
        self._expect = job.expect.encode("latin-1")
        self._head = job.requests[0].encode("latin-1")
        self._turn = itertools.cycle([text.encode("latin-1") for text in job.requests])
        self._links = [Link(job.host, job.port, context) for _ in range(job.connections)]
        self._selector = selectors.DefaultSelector()
        self._end = 0.0
        self._stopped = False
        self._round = Round()

    def stop(self) -> None:
        """Lets `run` end soon, with what it has."""
        self._stopped = True

    def run(self, edge: Callable[[], object] = lambda: None) -> Round:
        """Loads the server. `edge` is called when the measured time begins, and when it ends.

        Raises OSError when no connection could be opened.
        """
        done = self._round
        self._open_all()
        edge()
        cpu, started = time.process_time(), time.perf_counter()
        self._end = started + self._seconds
        for link in self._watched():
            try:
                self._send(link)
            except OSError as error:
                self._lost(error)
                self._unwatch(link)
        self._load()
        done.elapsed = time.perf_counter() - started
        done.requests = done.latencies.number
        done.generator_cpu = time.process_time() - cpu
        edge()
        if not self._stopped:
            self._drain()
        for link in self._links:
            link.close()
        self._selector.close()
        return done

    def _open_all(self) -> None:
        with ThreadPoolExecutor(_OPENING) as pool:
            opened = list(pool.map(self._opened, self._links))
        failed = [one for one in opened if isinstance(one, Exception)]
        if len(failed) == len(opened):
            raise OSError(str(failed[0]) or type(failed[0]).__name__)
        for link, answer in zip(self._links, opened, strict=True):
            if isinstance(answer, Exception):
                self._lost(answer)
                continue
            if answer is None:
                link.next = next(self._turn)
            else:
                link.fresh = True
                self._came(link, answer, 0.0)
            self._watch(link)

    def _opened(self, link: Link) -> bytes | Exception | None:
        """The answer to `first`, if there is one; or why it did not come."""
        try:
            link.open()
            return link.ask(self._first) if self._first else None
        except (OSError, ValueError) as error:
            link.close()
            return error

    def _load(self) -> None:
        now = time.perf_counter
        while self._selector.get_map() and (left := self._end - now()) > 0 and not self._stopped:
            for key, _ in self._selector.select(min(left, _LOOK)):
                link: Link = key.data
                try:
                    answer = link.receive()
                    if answer is None:
                        continue
                    self._came(link, answer, now() - link.sent)
                    self._send(link)
                except (OSError, ValueError) as error:
                    self._lost(error)
                    self._begin_anew(link)

    def _send(self, link: Link) -> None:
        if link.closing:  # as proxies do after some requests
            self._open_again(link)
        link.send()

    def _came(self, link: Link, answer: bytes, took: float) -> None:
        """Counts an answer, and makes the link's next request."""
        good = answer[9:12] == b"200" and self._expect in answer
        if not good:
            self._wrong(answer)
        elif not link.fresh:
            self._round.latencies.add(took)
        if not self._first:
            link.next = next(self._turn)
            return
        following = _refresh(self._head, answer) if good else None
        # A chain that is broken begins anew.
        link.next, link.fresh = following or self._first, following is None

    def _begin_anew(self, link: Link) -> None:
        """After a request without an answer: nobody knows whether a refresh token was spent."""
        if self._first:
            link.next, link.fresh = self._first, True
        try:
            self._open_again(link)
            link.send()
        except OSError as error:
            self._lost(error)
            self._unwatch(link)

    def _open_again(self, link: Link) -> None:
        self._unwatch(link)
        link.close()
        link.open(min(PATIENCE, max(0.01, self._end - time.perf_counter())))
        self._watch(link)

    def _drain(self) -> None:
        """Lets requests on their way end, so that none weighs on the next round."""
        end = time.perf_counter() + PATIENCE
        for link in self._watched():
            try:
                link.sock.settimeout(max(0.01, end - time.perf_counter()))
                while (answer := link.receive()) is None:
                    pass
                self._came(link, answer, time.perf_counter() - link.sent)
            except (OSError, ValueError) as error:
                self._lost(error)

    def _watch(self, link: Link) -> None:
        link.wait_elsewhere()
        self._selector.register(link.sock, selectors.EVENT_READ, link)

    def _unwatch(self, link: Link) -> None:
        with contextlib.suppress(KeyError, ValueError):  # it was not watched
            self._selector.unregister(link.sock)

    def _watched(self) -> list[Link]:
        return [key.data for key in self._selector.get_map().values()]

    def _wrong(self, answer: bytes) -> None:
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head[9:12]
        self._round.statuses[int(status) if status.isdigit() else 0] += 1
        if status == b"429":
            if limit := _LIMIT.search(head):
                self._round.limit = self._round.limit or limit[1].decode()
        elif not self._round.first_error:
            # Of a good answer nothing is kept, and refusals hold no secrets.
            said = b"not what was asked for" if status == b"200" else body[:200]
            text = head.split(b"\r\n", 1)[0] + b" " + said
            self._round.first_error = text.decode(errors="replace").strip()

    def _lost(self, error: Exception) -> None:
        self._round.lost += 1
        self._round.first_error = self._round.first_error or str(error) or type(error).__name__


# The name of what was reached, which is that of the setting (RateLimit, a structured field).
_LIMIT = re.compile(rb"\r\nratelimit: *\"([a-z-]{1,64})\"", re.IGNORECASE)


def _refresh(head: bytes, answer: bytes) -> bytes | None:
    """The request for the refresh token in an answer, if there is one."""
    _, found, rest = answer.partition(_TOKEN)
    if not found:
        return None
    token = quote(rest[: rest.index(b'"')], safe="").encode()
    body = b"grant_type=refresh_token&refresh_token=" + token
    return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)
