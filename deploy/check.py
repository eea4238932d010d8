"""Checks what deploy/ ships, each file by a tool that knows its kind: `python deploy/check.py`.

A tool that is not on this machine is told, and is no failure; with `--all` it is one.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

DEPLOY = Path(__file__).parent
#: The dev extra's tools stand beside this interpreter; nginx may stand where users do not look.
PLACES = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
)
#: How much `systemd-analyze security` may find, in tenths: below 20 is its "OK".
EXPOSURE = 20
SECONDS = 120


class MissingTool(Exception):
    """A program is not on this machine. Its text is the program's name."""


class Wrong(Exception):
    """A check failed. Its text is what the tool said."""


def run(*command: str | Path, **variables: str | Path) -> str:
    """What a tool printed, with more in its environment. Raises MissingTool and Wrong."""
    program = shutil.which(command[0], path=PLACES)
    if program is None:
        raise MissingTool(str(command[0]))
    done = subprocess.run(  # noqa: S603
        [program, *command[1:]],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
    )
    if done.returncode:
        raise Wrong((done.stdout + done.stderr).strip())
    return done.stdout + done.stderr


def image() -> None:
    """docker/Dockerfile."""
    run("hadolint", DEPLOY / "docker" / "Dockerfile")


def compose() -> None:
    """compose/compose.yaml."""
    file = DEPLOY / "compose" / "compose.yaml"
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


def scripts() -> None:
    """*.sh, and systemd/keyturn-as-service."""
    for script in [*sorted(DEPLOY.rglob("*.sh")), DEPLOY / "systemd" / "keyturn-as-service"]:
        run("sh", "-n", script)


#: A context that names no server. Without any, some builds of kubectl ask this machine's port 8080
#: for its version, whatever they are to do.
NO_SERVER = "apiVersion: v1\nkind: Config\ncurrent-context: none\n"


def overlays() -> str:
    """kubernetes/overlays/, put together by kubectl, then one with all that they leave out."""
    kubernetes = DEPLOY.resolve() / "kubernetes"
    unknown: set[str] = set()
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "config"
        config.write_text(NO_SERVER)
        everything = Path(directory).resolve() / "everything"
        everything.mkdir()
        parts = {
            "resources": [kubernetes / "base"],
            "components": sorted((kubernetes / "components").iterdir()),
        }
        named = {kind: [os.path.relpath(p, everything) for p in of] for kind, of in parts.items()}
        (everything / "kustomization.yaml").write_text(json.dumps(named))
        for overlay in [*sorted((kubernetes / "overlays").iterdir()), everything]:
            rendered = Path(directory) / f"{overlay.name}.yaml"
            rendered.write_text(run("kubectl", "kustomize", overlay, KUBECONFIG=config))
            unknown |= _kinds(rendered)
    return _unknown(unknown)


def manifests() -> str:
    """kubernetes/base/, file by file."""
    unknown: set[str] = set()
    for file in sorted((DEPLOY / "kubernetes" / "base").glob("*.yaml")):
        if file.name != "kustomization.yaml":
            unknown |= _kinds(file)
    return _unknown(unknown)


def _kinds(file: Path) -> set[str]:
    """The kinds that are not Kubernetes' own, whose schema nobody has here."""
    said = run("kubernetes-validate", "--strict", file)
    if "passed" not in said:
        raise Wrong(f"nothing was checked in {file.name}: {said}")
    return set(re.findall(r"Couldn't find schema for kind (\w+)", said))


def _unknown(kinds: set[str]) -> str:
    return f"not checked: {', '.join(sorted(kinds))}, of which no schema is known" if kinds else ""


def unit() -> str:
    """systemd/keyturn.service, its hardening too."""
    shipped = (DEPLOY / "systemd" / "keyturn.service").read_text()
    with tempfile.TemporaryDirectory() as directory:
        # A program that is there, in the place of the installed one.
        file = Path(directory) / "keyturn.service"
        file.write_text(shipped.replace("/opt/keyturn/bin/keyturn", "/bin/true"))
        if said := run("systemd-analyze", "verify", file).strip():
            raise Wrong(said)
        said = run(
            *("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", file)
        )
        # Its last line says how much in tenths of ten, then a word for it.
        found = re.search(r"([\d.]+) \w+\W*$", said)
        return f"exposed by {found[1]} of 10" if found else ""


def nginx() -> None:
    """nginx/, with its own upstreams and with those of compose/."""
    for upstreams in (DEPLOY / "nginx", DEPLOY / "compose"):
        with tempfile.TemporaryDirectory() as directory:
            _nginx(Path(directory), upstreams / "upstreams.conf")


def _nginx(prefix: Path, upstreams: Path) -> None:
    chain, key = prefix / "keyturn.crt", prefix / "keyturn.key"
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-subj", "/CN=iam.example", "-out", chain, "-keyout", key),
    )
    included = []
    for file in (upstreams, DEPLOY / "nginx" / "proxy.conf", DEPLOY / "nginx" / "keyturn.conf"):
        copy = prefix / file.name
        copy.write_text(file.read_text().replace("/etc/nginx/tls", str(prefix)))
        included.append(f"include {copy};")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = [f"{kind}_temp_path {prefix / kind};" for kind in kinds]
    main = prefix / "nginx.conf"
    main.write_text(
        f"pid {prefix}/pid; error_log {prefix}/error.log; events {{}}"
        f" http {{ access_log off; {' '.join([*paths, *included])} }}\n"
    )
    said = run("nginx", "-t", "-p", prefix, "-e", prefix / "error.log", "-c", main)
    if "[warn]" in said:
        raise Wrong(said)


def rules() -> str:
    """prometheus/*.rules.yaml."""
    files = sorted((DEPLOY / "prometheus").glob("*.rules.y*ml"))
    if files:
        run("promtool", "check", "rules", *files)
    return _counted(files)


def dashboards() -> str:
    """grafana/*.json, for being JSON with panels."""
    files = sorted((DEPLOY / "grafana").glob("*.json"))
    for file in files:
        try:
            document = json.loads(file.read_text())
        except ValueError as error:
            raise Wrong(f"{file.name}: {error}") from None
        if not document.get("panels"):
            raise Wrong(f"{file.name} has no panels")
    return _counted(files)


def _counted(files: Sequence[Path]) -> str:
    return "1 file" if len(files) == 1 else f"{len(files)} files"


#: What is to be said beside "checked", if anything.
Check = Callable[[], str | None]

CHECKS: Sequence[Check] = (
    image,
    compose,
    scripts,
    overlays,
    manifests,
    unit,
    nginx,
    rules,
    dashboards,
)


def failures(checks: Iterable[Check], *, everything: bool) -> Iterator[str]:
    """Runs each, says what became of it, and gives the names of those that failed."""
    for check in checks:
        what = (check.__doc__ or check.__name__).partition("\n")[0].rstrip(".")
        try:
            note = check()
        except MissingTool as missing:
            print(f"NOT CHECKED: {what}: {missing} is not on this machine", flush=True)
            if everything:
                yield check.__name__
        except Wrong as wrong:
            print(f"WRONG: {what}:\n{wrong}", flush=True)
            yield check.__name__
        else:
            print(f"checked: {what}{f'; {note}' if note else ''}", flush=True)


def main() -> int:
    """Checks everything. Gives the exit status."""
    if unknown := set(sys.argv[1:]) - {"--all"}:
        print(f"usage: check.py [--all], not {' '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    return 1 if list(failures(CHECKS, everything="--all" in sys.argv)) else 0


if __name__ == "__main__":
    sys.exit(main())
