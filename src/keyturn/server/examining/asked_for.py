"""What only some installations ask for: traces, reports of leaked keys."""

import asyncio
import contextlib
from collections.abc import Sequence
from urllib.parse import urlsplit

from ..leak_keys import Source, from_file, from_url, parsed
from ..reasons import unreachable
from ..settings import Settings
from ..spans import can_trace
from .findings import Finding, counted, ok, problem, warning

#: Seconds that opening a connection, or reading the keys, may take: less than a check may.
ANSWER_SECONDS = 4.0


async def traces(settings: Settings) -> Sequence[Finding]:
    """Whether traces can be sent, and somebody listens where they go. Nothing is sent."""
    if not settings.otlp_endpoint:
        return []
    if not can_trace():
        seen = "KEYTURN_OTLP_ENDPOINT is set, and what sends traces is not installed"
        return [problem("traces", f"{seen}: no node starts", "pip install 'keyturn[tracing]'")]
    url = urlsplit(settings.otlp_endpoint)
    port = url.port or (443 if url.scheme == "https" else 80)
    where = f"{url.hostname}:{port}"
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(url.hostname, port)
    except OSError as error:  # TimeoutError is one
        seen = unreachable(where, error) or f"{where} cannot be reached"
        return [warning("traces", f"{seen}: traces are lost", "see KEYTURN_OTLP_ENDPOINT")]
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return [ok("traces", f"{where} takes connections")]


async def leak_keys_file(settings: Settings) -> Sequence[Finding]:
    """Whether the file has keys that can check a report."""
    path = settings.leak_keys_file
    if path is None:
        return []
    return [await _leak_keys(from_file(path), str(path), "KEYTURN_LEAK_KEYS_FILE")]


async def leak_keys_url(settings: Settings) -> Sequence[Finding]:
    """Whether the keys are found there, asked for as the service asks."""
    url = settings.leak_keys_url
    if url is None:
        return []
    return [await _leak_keys(from_url(url), url, "KEYTURN_LEAK_KEYS_URL")]


async def _leak_keys(source: Source, where: str, setting: str) -> Finding:
    import httpx

    check, advice = "leak_keys", f"see {setting}; reports of leaked keys are refused until then"
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            keys = parsed(await source())
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        seen = unreachable(where, error) or f"{where} cannot be read"
        return warning(check, seen, advice)
    except ValueError as error:  # of leak_keys' own, which quote nothing, and of JSON
        seen = "no JSON" if type(error) is not ValueError else str(error)
        return warning(check, f"{where} has no keys to check reports with: {seen}", advice)
    return ok(check, f"{where} has {counted(len(keys), 'key')}")
