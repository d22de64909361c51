"""Ray on one machine is its run's own: on loopback, with a token, its files where nobody else can look."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dataset.store import scratch
from dataset.store.faults import WorkerStartError
from pipeline.workers import private_ray
from pipeline.workers.private_ray import PrivateRay


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder of its own, as if its path were short; Ray is not told of what these tests set."""
    folder = tmp_path_factory.mktemp("t")
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(folder))
    monkeypatch.setattr(private_ray, "_PATH_BYTES", 1000)
    monkeypatch.setattr(private_ray, "_reread", lambda **_: None)
    return folder


def test_the_environment_is_ours_while_it_runs_whatever_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    made = PrivateRay()
    assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    made.close()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_its_folder_is_closed_to_others_and_goes_with_it(short: Path) -> None:
    parent = short / f"openwit-{os.getuid()}"
    (parent / "ray-4194303" / "session").mkdir(parents=True)  # of a run that was killed
    parent.chmod(0o755)
    made = PrivateRay()
    folder = Path(made.options["_temp_dir"])
    assert folder.parent == parent and parent.stat().st_mode & 0o077 == 0
    assert not (parent / "ray-4194303").exists()
    folder.mkdir()
    (folder / "secret").write_text("")
    made.close()
    assert not folder.exists()


def test_anothers_folder_is_not_used(short: Path) -> None:
    (short / "elsewhere").mkdir()
    (short / f"openwit-{os.getuid()}").symlink_to(short / "elsewhere")
    with pytest.raises(OSError, match="set TMPDIR"):
        PrivateRay()


def test_a_folder_without_room_is_named_and_the_environment_left(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setattr(private_ray, "_LEAST_BYTES", 2**62)
    said = rf"Ray's temporary folder is full \({short}/openwit-.* MB left\); TMPDIR names another"
    with pytest.raises(WorkerStartError, match=said):
        PrivateRay()
    assert "RAY_AUTH_TOKEN" not in os.environ


METHODS = (
    "JobInfoGcsService/GetAllJobInfo",
    "InternalKVGcsService/InternalKVKeys",
    "NodeManagerService/RequestWorkerLease",
    "NodeManagerService/ShutdownRaylet",
    "CoreWorkerService/PushTask",
    "CoreWorkerService/KillActor",
    "ObjectManagerService/Push",
    "ReporterService/GetTraceback",
    "ReporterService/CpuProfiling",
)
"""What runs code, ends processes, or tells what a run does."""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_nothing_of_ray_listens_elsewhere(tmp_path: Path) -> None:
    """In a process of its own, because Ray keeps what it has once read; in a session of its own, by which Ray's
    processes are told from those of other tests (torch listens on every address of the machine)."""
    import subprocess

    code = (
        "import os, pathlib\n"
        "from pipeline.workers.executor import RayExecutor\n"
        "executor = RayExecutor(1, None)\n"
        "executor._start()\n"
        "mine = {os.readlink(f)[8:-1] for p in pathlib.Path('/proc').iterdir() if p.name.isdigit()\n"
        "        and os.getsid(int(p.name)) == os.getsid(0) for f in (p / 'fd').iterdir()\n"
        "        if f.is_symlink() and os.readlink(f).startswith('socket:[')}\n"
        "lines = [line.split() for kind in ('tcp', 'tcp6')\n"
        "         for line in pathlib.Path('/proc/net', kind).read_text().splitlines()[1:]]\n"
        "ends = [line[1].partition(':') for line in lines if line[3] == '0A' and line[9] in mine]\n"
        "print(sorted({host for host, _, _ in ends}))\n"
        "import grpc\n"
        "said = {}\n"
        "for port in {int(port, 16) for _, _, port in ends}:\n"
        f"    for method in {METHODS}:\n"
        "        for word in ([], [('authorization', 'Bearer ' + 'x' * 64)]):\n"
        "            with grpc.insecure_channel(f'127.0.0.1:{port}') as channel:\n"
        "                ask = channel.unary_unary('/ray.rpc.' + method)\n"
        "                try:\n"
        "                    ask(b'', timeout=20, metadata=word)\n"
        "                    said.setdefault(method, set()).add('OK')\n"
        "                except grpc.RpcError as error:\n"
        "                    said.setdefault(method, set()).add(error.code().name)\n"
        "print({method: sorted(answers - {'UNIMPLEMENTED', 'UNAVAILABLE'}) for method, answers in said.items()})\n"
        "executor.close()\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=300, start_new_session=True
    )
    if "did not start within" in done.stderr:
        pytest.skip("Ray did not start within its own limit")
    assert done.returncode == 0, done.stderr[-2000:]
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    listening, answers = map(eval, done.stdout.splitlines()[-2:])
    found = set(listening)
    assert found and found <= loopback
    assert answers == {method: ["UNAUTHENTICATED"] for method in METHODS}  # without the token, or with another
