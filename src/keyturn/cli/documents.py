"""OpenAPI documents to import: from a file, a URL, or stdin."""

import json
import sys
from pathlib import Path

from .api import TIMEOUT
from .problems import ExitCode, Problem

#: What a service takes, in bytes.
_MOST = 4 * 1024 * 1024


def read(source: str) -> dict[str, object]:
    """The document. YAML is read where PyYAML is installed. Raises Problem."""
    text = _bytes(source)
    try:
        document = json.loads(text)
    except ValueError:
        document = _yaml(text, source)
    if not isinstance(document, dict):
        raise Problem(f"{source} is not an OpenAPI document")
    return document


def _bytes(source: str) -> bytes:
    try:
        if source == "-":
            text = sys.stdin.buffer.read(_MOST + 1)
        elif source.startswith(("http://", "https://")):
            text = _fetched(source)
        else:
            with Path(source).open("rb") as file:
                text = file.read(_MOST + 1)
    except OSError as error:
        raise Problem(f"cannot read {source}: {error.strerror}") from None
    if len(text) > _MOST:
        raise Problem(f"{source} is larger than 4 MiB")
    return text


def _fetched(url: str) -> bytes:
    import httpx

    text = b""
    try:
        with httpx.stream("GET", url, timeout=TIMEOUT, follow_redirects=True) as response:
            if not response.is_success:
                raise Problem(f"{url} answered {response.status_code}")
            for part in response.iter_bytes():
                text += part
                if len(text) > _MOST:
                    break
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Problem(f"cannot read {url}: {error}", ExitCode.UNAVAILABLE) from None
    return text


def _yaml(text: bytes, source: str) -> object:
    try:
        import yaml
    except ModuleNotFoundError:
        raise Problem(
            f"{source} is not JSON. If it is YAML: pip install pyyaml, or convert it to JSON"
        ) from None
    try:
        # Through JSON once: YAML has dates, and numbers as keys.
        converted: object = json.loads(json.dumps(yaml.safe_load(text), default=str))
    except (yaml.YAMLError, TypeError, ValueError, RecursionError):
        raise Problem(f"{source} is neither JSON nor YAML") from None
    return converted
