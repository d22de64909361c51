"""The installed wheel: `wit` and `import openwit` in an environment of their own, far from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.pipeline import small_archive

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("openwit", "pipeline", "crawl", "filters", "train", "dataset", "sql")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout's packages."""
    if shutil.which("uv") is None and not (ROOT / ".venv/uv/bin/uv").exists():
        pytest.skip("there is no uv to build a wheel with; `make setup` brings it")
    uv = shutil.which("uv") or str(ROOT / ".venv/uv/bin/uv")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("configs", "demo", *PACKAGES):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    built = [uv, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--quiet"]
    subprocess.run([*built, "-o", str(folder), str(source)], check=True, timeout=120)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """A folder of installed packages with the wheel's alone."""
    folder = wheel.parent / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    for package in PACKAGES:  # numba's code of the same sources, which takes it eight CPU-seconds to make again
        for compiled in (ROOT / package).rglob("__pycache__/*.nb[ci]"):
            inside = folder / compiled.parent.relative_to(ROOT)
            inside.mkdir(exist_ok=True)
            shutil.copy2(compiled, inside)
            source = compiled.parents[1] / f"{compiled.name.partition('.')[0]}.py"
            shutil.copystat(source, folder / source.relative_to(ROOT))
    return folder


def python(site: Path, *arguments: str, cwd: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python in an environment of the wheel's packages and of those that it depends on, without the checkout."""
    home = site.parent / f"{site.name}-venv"
    if not home.exists():
        venv.create(home, symlinks=True)
        (packages,) = home.glob("lib/python*/site-packages")
        # Folders named by a .pth file are looked into, but their own .pth files, which name the checkout, are not read.
        (packages / "packages.pth").write_text(f"{site}\n{sysconfig.get_paths()['purelib']}\n")
    env = {**os.environ, "PYTHONPATH": before}
    command = [str(home / "bin" / "python"), *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


def test_it_holds_every_file_of_its_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    wanted = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix in {".py", ".sql", ".yaml", ".json", ".parquet", ".txt", ".html", ".css"}
    }
    assert wanted <= names
    assert {f"openwit/{file.relative_to(ROOT)}" for file in (ROOT / "configs").rglob("*.yaml")} <= names


@pytest.mark.slow
def test_a_carried_config_builds_a_dataset_and_a_notebook_opens_it(site: Path, tmp_path: Path) -> None:
    small_archive.write(tmp_path / "crawl.warc.gz", pages=3)
    words = ["run", "archive", "--set", "sources=[crawl.warc.gz]", "--out", "mine", "--to", "text", "--workers", "0"]
    code = (  # as `python -m pipeline`, and then as a notebook: one process, which imports all of it once
        "import runpy, sys\n"
        f"sys.argv = {['wit', *words]!r}\n"
        "try: runpy.run_module('pipeline', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "import openwit, pathlib\n"
        "dataset = openwit.open('mine')\n"
        "(url,), *_ = dataset.sql('SELECT url FROM candidates ORDER BY url').fetchall()\n"
        "print(pathlib.Path(openwit.__file__).parent, len(openwit.explain('mine', url)) > 0)\n"
    )
    done = python(site, "-c", code, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.endswith(f"\n{site / 'openwit'} True\n"), done.stdout + done.stderr


def test_another_package_called_dataset_is_told_from_ours(site: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign" / "dataset"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("def connect(): ...\n")
    (tmp_path / "empty").mkdir()
    shadowed = python(site, "-c", "import openwit", cwd=tmp_path / "empty", before=str(foreign.parent))
    assert shadowed.returncode == 1
    assert "ImportError: openwit needs its own package 'dataset', which is another one" in shadowed.stderr
    overwritten = tmp_path / "site"
    shutil.copytree(site, overwritten)
    shutil.copy(foreign / "__init__.py", overwritten / "dataset" / "__init__.py")
    code = "import openwit\ntry: openwit.open('nowhere')\nexcept FileNotFoundError: print('no such dataset')"
    opened = python(overwritten, "-c", code, cwd=tmp_path / "empty")
    assert opened.stdout == "no such dataset\n", opened.stderr
