"""The shell of `wit sql`: statements and commands, what completes them, and a session at a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from dataset.query.views import Dataset
from pipeline.asking.shell import COMMANDS, Shell, ask, is_whole
from pipeline.cli import main
from tests.pipeline.dataset_fixture import HandMade


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [
        {"url": "http://a.example/1.jpg", "text": "a rose \x1b[31m"},
        {"url": "http://a.example/2.jpg", "text": "b", "drop": ("text", "text_too_short", {"characters": 1})},
    ]
    return HandMade(tmp_path_factory.mktemp("shell") / "out").write(rows)


@pytest.fixture
def shell(out: str) -> Shell:
    return Shell(Dataset(out))


@pytest.mark.parametrize(
    ("entered", "told"),
    [
        ("SELECT count(*) AS n\nFROM candidates;", "2"),
        (".views", "pairs"),
        (".views dropped", "evidence"),
        (".audit", "dropped_by_reason"),
        (".audit", "most=50: how many hosts"),
        (".audit dropped_by_reason", "text_too_short"),
        ('.audit concept_by_host concept="A rose" most=1', "a.example"),
        (".explain http://a.example/2.jpg", "text_too_short"),
        (".explain http://nowhere.example/", "no candidate has"),
        (".help", ".explain"),
        (".nonsense", ".explain"),
        (".shell touch x", ".explain"),
        (".system touch x", ".explain"),
        (".read /etc/passwd", ".explain"),
        (".import /etc/passwd a", ".explain"),
        (".load a.duckdb_extension", ".explain"),
        ("SELECT text FROM candidates ORDER BY ALL DESC;", "�[31m"),
        ("SELECT * FROM range(2000);", "the first 1,000 rows"),
    ],
)
def test_what_is_entered_is_answered(shell: Shell, entered: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.enter(entered)
    printed = capsys.readouterr()
    assert told in printed.out and not printed.err and "\x1b" not in printed.out


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [{"url": "http://a.example/1.jpg", "text": "another rose"}]
    return HandMade(tmp_path_factory.mktemp("other's") / "it").write(rows)


def test_two_datasets_are_asked_in_one_query(shell: Shell, other: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.enter(f".open {other} AS b")
    both = "SELECT a.text || ' / ' || b.text FROM candidates a JOIN b.candidates b USING (url);"
    assert shell.enter(both) and "a rose �[31m / another rose" in capsys.readouterr().out
    counts = (
        "SELECT (SELECT count(*) FROM dropped), (SELECT count(*) FROM b.dropped), (SELECT max(input) FROM b.funnel);"
    )
    assert shell.enter(counts) and "1  " in capsys.readouterr().out
    assert shell.enter(f".open {other} AS c") and shell.enter(
        "SELECT count(*) + 5 FROM b.candidates JOIN c.candidates USING (url);"
    )
    assert "6" in capsys.readouterr().out


def test_the_datasets_lines_are_taken_from_standard_input(
    out: str, other: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BytesIO(f".open {other} AS b\nSELECT text FROM b.candidates;\n".encode()))
    )
    assert main(["sql", out]) == 0
    assert "another rose" in capsys.readouterr().out


def test_each_statement_of_standard_input_is_answered(
    out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(text: str, *options: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code = main(["sql", out, *options])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    assert told("SELECT 41 AS a;\nSELECT 42 AS b") == (0, " a\n41\n b\n42\n", "")
    assert told('-- both\nSELECT 41 AS "é;"; SELECT 42 AS b;; -- done')[1] == "é;\n41\n b\n42\n"
    assert told("SELECT 41 AS a;\nSELECT 42 AS b", "--format", "csv") == (0, "b\n42\n", "")
    code, answered, refused = told("FROM read_text('/etc/hosts');\nSELECT 42 AS b;")
    assert code == 2 and "42" in answered and "--allow-files" in refused


def test_semicolons_of_comments_and_strings_end_nothing(
    out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "-- how many;\n.views caps\nSELECT 40 -- and;\n+ 2 AS n, 'é;\n;' AS text;\n-- done\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode()), encoding="utf-8"))
    assert main(["sql", out]) == 0
    printed = capsys.readouterr()
    assert "42" in printed.out and "é;" in printed.out and not printed.err


@pytest.mark.parametrize(
    "entered",
    [
        "CREATE TABLE b.main.mine AS SELECT 1;",
        "CREATE TEMP TABLE b.main.mine AS SELECT 1;",
        "INSERT INTO b._funnel VALUES (1);",
        "DROP VIEW b.pairs;",
        "ATTACH ':memory:' AS d;",
        "DETACH b;",
        "FROM read_text('{other}/manifest.json');",
        "FROM read_text('{out}/manifest.json');",
        "FROM glob('{other}/*');",
        "COPY b.candidates TO '{other}/x.csv';",
        ".output {other}/x.csv\nFROM b.candidates;",
        ".open {other}/nothing AS e",
        ".open {other} AS temp",
        '.open {other} AS "e f"',
    ],
)
def test_the_other_dataset_is_as_closed_as_the_first(
    shell: Shell, out: str, other: str, entered: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.enter(f".open {other} AS b") and not shell.failed
    before = sorted(Path(other).rglob("*"))
    for line in entered.format(out=out, other=other).split("\n"):
        assert shell.enter(line)
    assert shell.failed and capsys.readouterr().err
    assert sorted(Path(other).rglob("*")) == before


@pytest.mark.parametrize(
    ("entered", "told"),
    [
        ("SELEKT 1;", "syntax error"),
        ("FROM nothing;", "nothing does not exist"),
        ("COPY pairs TO 'x';", ".output FILE writes an answer to a file"),
        (".audit nothing", "there is no audit nothing"),
    ],
)
def test_what_goes_wrong_is_said_and_ends_nothing(
    shell: Shell, entered: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.enter(entered)
    assert told in capsys.readouterr().err
    assert shell.enter("SELECT 41 + 1;")
    assert "42" in capsys.readouterr().out


def test_the_next_answer_goes_to_a_file(
    shell: Shell, out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.enter(f".output {tmp_path / 'a.csv'}") and shell.enter("SELECT 1 AS a;")
    assert (tmp_path / "a.csv").read_text() == "a\n1\n"
    assert shell.enter(f".output {out}/b.csv") and shell.enter("SELECT 1 AS a;")
    assert "inside the dataset" in capsys.readouterr().err
    assert shell.enter("SELECT 7;") and "7" in capsys.readouterr().out


def test_own_tables_last_as_long_as_the_shell(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.enter("CREATE TEMP TABLE mine AS SELECT 7 AS seven;") and shell.enter("FROM mine;")
    assert "seven" in capsys.readouterr().out


def test_ctrl_c_stops_the_query_alone(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.asking.shell.interruptible", pressed)
        assert shell.enter("SELECT 1;")
    assert capsys.readouterr().err == "stopped\n"
    assert shell.enter("SELECT 7;") and "7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "first"),
    [
        ("SELECT * FROM pai", "pairs"),
        ("SELECT nsfw_pro", "nsfw_probability"),
        ("SELECT regexp_repl", "regexp_replace"),
        ("sel", "SELECT"),
        (".au", ".audit"),
        (".audit dropped_by_r", "dropped_by_reason"),
        (".views dro", "dropped"),
    ],
)
def test_words_are_completed(shell: Shell, before: str, first: str) -> None:
    assert shell.completions(before)[0] == first
    assert shell.completions("SELECT ") == shell.completions("SELECT xyzzy") == []


def test_a_statement_ends_in_a_semicolon() -> None:
    assert all(is_whole(text) for text in ("", ".views", "SELECT 1;", "SELECT 1 ;\n", *COMMANDS))
    assert all(is_whole(text) for text in ("-- a;", "/* a */", "SELECT 1; -- a", "SELECT 'é;';", "SELECT 1 --\n;"))
    assert not any(is_whole(text) for text in ("SELECT 1", "SELECT ';'\nFROM", "/* a;", "SELECT 1 -- a;", "SELECT 'é;"))


def test_a_session_at_a_terminal(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("SELECT 40\r+ 2;\r.views\rSELECT 1 \x03.quit\r")
        ask(Dataset(out))
    printed = capsys.readouterr().out
    assert "42" in printed and "pairs" in printed
    history = (tmp_path / "openwit" / "sql_history").read_text()
    assert "+SELECT 40\n++ 2;" in history and (tmp_path / "openwit" / "sql_history").stat().st_mode & 0o77 == 0


def test_commands_are_taken_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = HandMade(tmp_path / "mine").write([{"url": "http://a.example/1.jpg", "text": "a rose"}])

    def entered(text: str) -> int:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return main(["sql", out])

    assert entered(".audit shards\nSELECT text\nFROM pairs;\n.quit\nSELECT nothing;") == 0
    printed = capsys.readouterr().out
    assert "train-00000.tar" in printed and "a rose" in printed
    assert entered(".views\nCOPY pairs TO 'x'") == 2
    assert "more than answer" in capsys.readouterr().err
