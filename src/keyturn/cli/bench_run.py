"""The load of `keyturn bench`: told to a process of its own, call by call."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from .bench_service import job_for
from .load.__main__ import STOP
from .load.jobs import Job, Round
from .load.links import PATIENCE
from .problems import ExitCode, Problem
from .profiles import Profile

#: How often the progress bar is drawn, in seconds.
_TICK = 0.1


@dataclass(slots=True)
class Done:
    """What was measured, by call, each for `seconds`. `problem`: why there is no more."""

    seconds: float = 0.0
    rounds: dict[str, Round] = field(default_factory=dict)
    interrupted: bool = False
    problem: Problem | None = None


def run(user: Profile, calls: Sequence[str], connections: int, seconds: float) -> Done:
    """Measures the calls one after the other. Raises Problem when the first cannot begin.

    Ctrl-C ends it early.
    """
    done = Done(seconds)
    try:
        with _generator() as generator, _progress() as progress:
            for call in calls:
                done.rounds[call] = Round()
                bar = progress.add_task(call, total=seconds)
                left = seconds
                while left > 0 and not done.interrupted:
                    job = job_for(user, call, connections, left)
                    tick = functools.partial(_draw, progress, bar, seconds - left)
                    one, done.interrupted = generator.run(job, tick)
                    done.rounds[call].merge(one)
                    left -= job.seconds
                if done.interrupted:
                    break
    except Problem as error:
        done.problem = error
        if not _measured(done):
            raise
    except KeyboardInterrupt:  # while the service was asked
        done.interrupted = True
        if not _measured(done):
            raise
    return done


def _measured(done: Done) -> bool:
    """Whether there is anything; what had only begun is dropped."""
    done.rounds = {call: one for call, one in done.rounds.items() if one.elapsed}
    return bool(done.rounds)


def _draw(progress: Progress, bar: TaskID, before: float, passed: float) -> None:
    progress.update(bar, completed=before + passed)


class _Generator:
    """The process that sends the load."""

    def __init__(self, process: "subprocess.Popen[str]", pool: ThreadPoolExecutor) -> None:
        self._process = process
        self._pool = pool

    def run(self, job: Job, tick: Callable[[float], None]) -> tuple[Round, bool]:
        """What it measured, and whether it was interrupted; `tick` hears how long it has worked."""
        self._tell(json.dumps(asdict(job)))
        output = self._process.stdout
        assert output is not None  # noqa: S101 - it has pipes
        answer = self._pool.submit(output.readline)
        begun = time.monotonic()
        # Connections are opened some at a time, and the last answers are waited for.
        most = job.seconds + PATIENCE * (3 + job.connections / 8)
        interrupted = False
        while True:
            try:
                line = answer.result(_TICK)
                break
            except TimeoutError:
                passed = time.monotonic() - begun
                if passed > most:
                    raise Problem("the load generator does not answer") from None
                tick(min(passed, job.seconds))
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                most = time.monotonic() - begun + 3 * PATIENCE
                self._tell(STOP)
        if not line:
            raise Problem("the load generator ended")
        if failed := json.loads(line).get("failed"):
            raise Problem(f"{job.host} cannot be loaded ({failed})", ExitCode.UNAVAILABLE)
        if not interrupted:
            tick(job.seconds)
        return Round.loads(line), interrupted

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it has pipes
        with contextlib.suppress(OSError):  # it is gone: nothing will be said, either
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()


@contextlib.contextmanager
def _generator() -> Iterator[_Generator]:
    # Secrets go by stdin alone. It imports nothing of the directory that one stands in (-P).
    environment = {name: of for name, of in os.environ.items() if not name.startswith("KEYTURN_")}
    with (
        subprocess.Popen(  # noqa: S603 - this interpreter, our module
            [sys.executable, "-P", "-m", f"{__package__}.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process, which then says `stop`
        ) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            yield _Generator(process, pool)
        finally:
            process.kill()


def _progress() -> Progress:
    console = Console(stderr=True, highlight=False, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
