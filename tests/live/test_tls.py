"""`keyturn serve` with a certificate of its own."""

import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.certificates import made, name_in
from tests.live_server import LiveServer, eventually, prepare


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    for path, content in zip(files, made("iam.example"), strict=True):
        path.write_bytes(content)
    files[1].chmod(0o600)
    return files


def test_200_by_tls_1_3_and_nothing_older(
    log_dir: Path, sqlite_url: str, pair: tuple[Path, Path]
) -> None:
    demo = prepare(sqlite_url)
    server = LiveServer(
        log_dir,
        sqlite_url,
        demo.master_secret,
        tls_cert_file=pair[0],
        tls_key_file=pair[1],
        tls_min_version="1.3",
    )
    url = f"https://127.0.0.1:{server.port}"
    context = ssl.create_default_context(cafile=str(pair[0]))
    context.check_hostname = False
    server.launch()
    try:
        with httpx.Client(verify=context, timeout=10) as client:

            def ready() -> bool:
                try:
                    return client.get(f"{url}/health/ready").status_code == 200
                except httpx.TransportError:
                    return False

            eventually(ready, 60)
            form = {"username": demo.username, "password": demo.api_key}
            answer = client.post(f"{url}/iam/auth/token", json=form)
            assert answer.status_code == 200
            assert "server" not in answer.headers
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain,
            context.wrap_socket(plain) as secured,
        ):
            assert secured.version() == "TLSv1.3"
            der = secured.getpeercert(binary_form=True)
            assert der is not None
            assert name_in(der) == "iam.example"
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            pytest.raises(OSError),
            socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain,
        ):
            context.wrap_socket(plain)
    finally:
        assert server.stop() == 0
    assert "can read the file" not in server.log.read_text()


def test_1_one_line_for_a_key_of_another_certificate(
    log_dir: Path, sqlite_url: str, pair: tuple[Path, Path]
) -> None:
    demo = prepare(sqlite_url)
    pair[1].write_bytes(made("other")[1])
    pair[1].chmod(0o644)
    server = LiveServer(
        log_dir, sqlite_url, demo.master_secret, tls_cert_file=pair[0], tls_key_file=pair[1]
    )
    process: subprocess.Popen[bytes] = server.command("serve")
    assert process.wait(60) != 0
    said = server.log.read_text()
    assert "KEYTURN_TLS_CERT_FILE and KEYTURN_TLS_KEY_FILE are no certificate and its key" in said
    assert "everybody on this machine can read the file of KEYTURN_TLS_KEY_FILE" in said
    assert "Traceback" not in said
