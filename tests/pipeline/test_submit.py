"""`wit submit` against a real Ray head: the job's log, its exit status, and what paths mean in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import yaml

import dataset
from pipeline import submit as jobs
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.config_errors import ConfigError
from tests.pipeline import small_archive
from tests.pipeline.patient_ray import PATIENT
from tests.s3_server import free_ports

REPO = Path(__file__).resolve().parents[2]
TOKEN = "c" * 64  # of our head; Ray makes one of its own for each user, and asks for it from then on


STARTS = 3


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The job server of a Ray head of our own."""
    for _ in range(STARTS):
        with head() as url:
            if url:
                yield url
                return
    pytest.fail(f"ray start --head was tried {STARTS} times, and no job server answered")


@contextmanager
def head() -> Iterator[str | None]:
    """A Ray head and the address of its job server, None if it does not answer; only its own processes are ended."""
    names = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port", "metrics-export-port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    folder = tempfile.mkdtemp(prefix="wit-")  # a socket's path may have 107 bytes; pytest's own are too long
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
    command += ["--node-ip-address=127.0.0.1", "--disable-usage-stats", f"--temp-dir={folder}"]
    command += ["--object-store-memory=100000000", *(f"--{name}={port}" for name, port in ports.items())]
    env = {**os.environ, **PATIENT, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{ports['dashboard-port']}"
    try:
        until = time.monotonic() + 90
        while not (ready := answers(url)) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.3)
        yield url if ready else None
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for other in Path("/proc").glob("[0-9]*"):  # whatever of this very head is left names its folder
            with suppress(OSError):
                if folder.encode() in (other / "cmdline").read_bytes():
                    os.kill(int(other.name), signal.SIGKILL)
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def answers(url: str) -> bool:
    """Whether the job server lists its jobs to those who know the token."""
    request = urllib.request.Request(f"{url}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive, and a config that names everything relative to it."""
    home = tmp_path_factory.mktemp("home")
    small_archive.write(home / "small.warc.gz", pages=16)
    raw = small_archive.config("small.warc.gz", "out", beside=".", run={"workers": None, "pairs_per_partition": 100})
    (home / "config.yaml").write_text(yaml.safe_dump(raw))
    return home


def submit(home: Path, address: str, *words: str, token: str = TOKEN) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipeline", "submit", "--address", address, "--", "wit", *words]
    env = {**os.environ, "PYTHONPATH": str(REPO), "RAY_AUTH_TOKEN": token}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell has what it starts in the background ignore Ctrl-C, and all its children.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, cwd=home, env=env, **pipes, text=True, preexec_fn=heed)


@pytest.mark.slow
def test_a_job_builds_what_a_run_here_would(address: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submit(home, address, "run", "config.yaml", "--to", "dedup")
    log, messages = job.communicate(timeout=240)
    assert job.returncode == 0, log + messages
    assert "text_spam" in log  # the driver's lines
    monkeypatch.chdir(home)
    raw = yaml.safe_load((home / "config.yaml").read_text())
    build(make_config({**raw, "run": {**raw["run"], "workers": 0}}, out="here"), to="dedup", quiet=True)
    assert contents(home / "out") == contents(home / "here")
    assert dataset.open("out").sql("SELECT DISTINCT stage FROM dropped ORDER BY 1").fetchall() == [
        ("dedup",),
        ("match",),
        ("text",),
    ]


def test_the_log_comes_while_the_job_works_and_ctrl_c_stops_it(address: str, home: Path) -> None:
    (home / "slow.py").write_text(
        "import time\n\ndef wait(rows):\n    time.sleep(60)\n    return {'waited': [True] * len(rows)}\n"
    )
    slow = "filters=[{name: slow, stage: text, measure: 'slow.py:wait', drop_when: 'NOT waited'}]"
    job = submit(home, address, "run", "config.yaml", "--out", "stopped", "--set", slow, "--set", "allow_programs=true")
    assert job.stdout is not None
    for line in job.stdout:
        if line.startswith("extract"):
            break
    assert (home / "stopped" / "lease.json").exists()  # the run is still at work
    job.send_signal(signal.SIGINT)
    _, messages = job.communicate(timeout=60)
    assert job.returncode == 130, messages
    assert not (home / "stopped" / "lease.json").exists()  # and let go of the dataset when it was stopped


def test_a_config_error_comes_back_as_2(address: str, home: Path) -> None:
    job = submit(home, address, "run", "config.yaml", "--set", "balance.capp=3")
    log, _ = job.communicate(timeout=120)
    assert job.returncode == 2
    assert "there is no key balance.capp; did you mean cap?" in log


def test_no_cluster_is_one_sentence_with_the_fix(home: Path) -> None:
    (port,) = free_ports(1)
    job = submit(home, f"http://127.0.0.1:{port}", "run", "config.yaml")
    log, messages = job.communicate(timeout=60)
    assert job.returncode == 2
    assert log == ""
    assert messages.startswith(f"wit: no Ray job server answers at http://127.0.0.1:{port}")
    assert "ray start --head" in messages
    assert len(messages.splitlines()) == 1


def test_a_cluster_that_refuses_the_token_says_so(address: str, home: Path) -> None:
    job = submit(home, address, "run", "config.yaml", token="d" * 64)
    _, messages = job.communicate(timeout=60)
    assert job.returncode == 2
    assert f"the Ray job server at {address} asks for a token" in messages


def test_a_working_directory_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--working-dir /no/such is no folder"):
        jobs.submit(["wit", "status", "out"], "http://127.0.0.1:1", "/no/such")


def test_a_job_goes_home_only_on_the_machine_that_submitted_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(jobs.HOME, f"another-machine:{tmp_path / 'home'}")
    jobs.go_home()
    assert Path.cwd() == tmp_path
    monkeypatch.setenv(jobs.HOME, f"{jobs._machine()}:{tmp_path / 'home'}")
    jobs.go_home()
    assert Path.cwd() == tmp_path / "home"


def test_far_from_home_a_relative_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.check_out("out/mine")
    monkeypatch.setenv(jobs.HOME, f"{jobs._machine()}:/home/me")
    jobs.check_out("out/mine")
    monkeypatch.setenv(jobs.HOME, "another-machine:/home/me")
    jobs.check_out("/shared/out")
    jobs.check_out("s3://bucket/out")
    with pytest.raises(ConfigError, match="out is out/mine, which would be lost"):
        jobs.check_out("out/mine")


def test_words_reach_the_job_as_they_were_given() -> None:
    entry = jobs._entrypoint(["wit", "run", "my config.yaml", "--set", 'sources=["a b.warc.gz", "$HOME"]'])
    shown = subprocess.run(
        ["sh", "-c", entry.replace("exec ", "echo ", 1)], capture_output=True, text=True, check=True
    ).stdout
    assert shown == f'{sys.executable} -m pipeline run my config.yaml --set sources=["a b.warc.gz", "$HOME"]\n'


def contents(out: Path) -> dict[str, bytes]:
    """Every file whose bytes must not vary."""
    names = {str(path.relative_to(out)): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith(("log/", "fetch/store/"))}
