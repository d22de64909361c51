"""What opens an address is used and never written: no file of a dataset, no line of a run has it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dataset.store.secrets import authorization, public, without
from dataset.store.storage import Storage
from pipeline.cli import main
from pipeline.config import build as make_config
from pipeline.config_errors import ConfigError
from pipeline.engine.sources.inputs import expand
from tests.crawl.warc_bytes import members, page
from tests.range_server import running

SECRETS = ("0penSesame", "hunter2", "s3cr%20t", "s3cr t", "aHVudGVy", "FwoGZXIvYXdz")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://me:hunter2@host.example/a.warc.gz", "https://host.example/a.warc.gz"),
        ("https://me@host.example:8080/a", "https://host.example:8080/a"),
        ("https://h.example/a?token=x", "https://h.example/a"),
        ("https://h.example/a?file=1&token=x&part=2", "https://h.example/a?file=1&part=2"),
        ("https://h.example/a?token=x&file=1#sig=y", "https://h.example/a?file=1"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Algorithm=A&X-Amz-Credential=C&X-Amz-Signature=S&versionId=7",
         "https://b.s3.amazonaws.com/k?versionId=7"),
        ("https://a.blob.core.windows.net/c/b?sv=2022&sr=b&sig=abc%3D&se=2026", "https://a.blob.core.windows.net/c/b"),
        ("https://storage.googleapis.com/b/o?X-Goog-Signature=S&x-goog-expires=9", "https://storage.googleapis.com/b/o"),
        ("s3://KEY:SECRET@bucket/a", "s3://bucket/a"),
        ("https://h/a?API_KEY=x&q=tokens", "https://h/a?q=tokens"),
        ("https://h/a@b?x=1", "https://h/a@b?x=1"),
        ("https://h/a?&&x=1", "https://h/a?&&x=1"),
        ("https://h/a?tokens", "https://h/a?tokens"),
        ("simplecache::https://me:hunter2@h/a?sig=x", "simplecache::https://h/a"),
        ("zip://a.warc::https://me:hunter2@h/a.zip", "zip://a.warc::https://h/a.zip"),
        ("https://[::1]/a?to=http://me:hunter2@h/", "https://[::1]/a?to=http://h/"),
        ("https://h/a;jsessionid=x/b;v=1?oauth_token=x&login[password]=y", "https://h/a/b;v=1"),
        (f"https://h/a?key=AIza{'x' * 35}&key=a.warc", "https://h/a?key=a.warc"),
        ("https://h/a?code=x", "https://h/a?code=~2d711642"),
        ("https://h/a?S=x&page=2&hash=x#k=x", "https://h/a?S=~2d711642&page=2&hash=~2d711642#k=~2d711642"),
        ("https://h/a?key=crawl%2Fa.WARC.gz&s=&h", "https://h/a?key=crawl%2Fa.WARC.gz&s=&h"),
        ("/a/path?token=x", "/a/path?token=x"),
        ("cc:CC-MAIN-2026-40[0:1]", "cc:CC-MAIN-2026-40[0:1]"),
    ],
)  # fmt: skip
def test_an_addresses_name_is_the_address_without_what_opens_it(url: str, name: str) -> None:
    assert public(url) == name
    assert public(name) == name


def test_a_message_is_rid_of_an_addresses_secrets_however_it_is_worded() -> None:
    url = "https://me:hunter2@host.example/a?token=s3cr%20t&x=1"
    assert without(f"{url} is damaged", url) == "https://…host.example/a?…&x=1 is damaged"
    assert without("Max retries with url: /a?token=s3cr%20t&x=1 (hunter2)", url).count("…") == 2
    assert without("nothing secret", "/a/path") == "nothing secret"
    assert without("no hunter22 at /a?code=hunter22", "https://h/a?code=hunter22") == "no … at /a?…"
    assert without("1 of 11 failed", "https://h/a?s=1") == "1 of 11 failed"


def test_a_message_about_an_address_of_thousands_of_secrets_tells_none() -> None:
    url = "http://host.example/a?" + "&".join(f"token=s3cret{number}" for number in range(10_000))
    assert without(f"{url} is damaged", url) == "…"
    assert public(url) == "http://host.example/a"


def test_user_and_password_go_into_a_header() -> None:
    assert authorization("https://me:a%40b@host.example/") == {"Authorization": "Basic bWU6YUBi"}
    assert authorization("https://host.example/") == {}


def test_one_name_for_two_files_is_refused_and_for_one_signed_twice_is_not(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.warc").write_bytes(page("<img src=/1.png alt='a rose'>"))
    with running(tmp_path / "web") as server:
        sources = [f"{server.url}/a.warc?token=1", f"{server.url}/a.warc?token=2"]
        config = make_config({"sources": sources, "out": str(tmp_path / "out")})
        (found,) = expand(config, Storage(config.out))
        assert (found.archive, found.location) == (f"{server.url}/a.warc", sources[0])


def test_no_secret_of_a_source_is_written_or_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    web = tmp_path / "web"
    web.mkdir()
    (web / "a.warc.gz").write_bytes(members(page("<img src=/1.png alt='a photo of a rose'>"), page("<p>")))
    (web / "cut.warc.gz").write_bytes(members(page("<img src=/2.png alt='a photo of a tulip'>") * 50)[:-20])
    (web / "broken.wacz").write_bytes(b"PK\x03\x04" + bytes(100))
    (web / "queries.txt").write_text("rose\n")
    with running(web) as server:
        base = server.url.replace("http://", "http://me:hunter2@")
        sources = [f"{base}/{name}?token=s3cr%20t&X-Amz-Security-Token=FwoGZXIvYXdz&code=0penSesame&part=1"
                   for name in ("a.warc.gz", "cut.warc.gz", "broken.wacz")]  # fmt: skip
        out = tmp_path / "out"
        (tmp_path / "config.yaml").write_text(f"sources: {sources}\nout: {out}\nrun: {{workers: 0}}\n"
                                              "text: {languages: []}\nfetch: {origins: [archive]}\n"
                                              f"match: {{queries: '{tmp_path}/web/queries.txt'}}\n")  # fmt: skip
        assert main(["run", str(tmp_path / "config.yaml")]) == 0
        for command in (["status"], ["sql", "SELECT * FROM sources"], ["report"]):
            assert main([command[0], str(out), *command[1:]]) == 0
        gone = f"{base}/gone.warc.gz?token=s3cr%20t"
        assert main(["run", str(tmp_path / "config.yaml"), "--set", f"sources=['{gone}']", "--debug"]) == 2
    hurried = ["--set", "run.web_patience_s=0"]
    assert main(["run", str(tmp_path / "config.yaml"), "--set", f"sources=['{gone}']", *hurried]) != 0  # it is gone
    assert server.authorizations == {"Basic bWU6aHVudGVyMg=="}
    printed = "".join(capfd.readouterr()) + caplog.text
    assert "a.warc.gz" in (out / "config.yaml").read_text()
    assert server.url in printed
    for secret in SECRETS:
        assert secret not in printed
        for file in out.rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file


def test_a_source_of_another_kind_names_no_secret_in_its_error(tmp_path: Path) -> None:
    config = make_config({"sources": ["nosuch://me:hunter2@host/a?token=s3cr%20t"], "out": str(tmp_path / "out")})
    with pytest.raises(ConfigError) as told:
        expand(config, Storage(config.out))
    assert not any(secret in str(told.value) for secret in SECRETS)
