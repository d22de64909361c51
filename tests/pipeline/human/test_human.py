"""People answer by a page: nothing is lost, nothing hostile gets in, and the report is the paper's table 2."""

from __future__ import annotations

import asyncio
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from pipeline.cli import main
from pipeline.config_errors import ConfigError
from pipeline.human.answers import Answer, Answers, person_of
from pipeline.human.questions import Questions, questions_of
from pipeline.human.report import krippendorff_alpha, people_needed, report
from pipeline.human.server import COOKIE, MOST_BYTES, application
from tests.train.evaluate import helpers
from train.evaluate.results.row import Figure, Row
from train.evaluate.sets import SetError
from train.evaluate.sets.open import open_set

EACH, ASKED = 4, 9


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of six classes, one of whose names is a page's script."""
    root = helpers.class_folders(tmp_path_factory.mktemp("human") / "set", EACH)
    names = sorted(folder.name for folder in root.iterdir())
    (root / "classes.txt").write_text("\n".join(["<script>alert(1)</script>", *names[1:]]))
    return root


@pytest.fixture(scope="module")
def questions(task: Path) -> Questions:
    return questions_of(open_set(task), ASKED)


@pytest.fixture
def answers(questions: Questions, tmp_path: Path) -> Iterator[Answers]:
    made = Answers(str(tmp_path / "answers.duckdb"), questions)
    yield made
    made.close()


@pytest.fixture
async def client(questions: Questions, answers: Answers) -> AsyncIterator[Any]:
    jar = aiohttp.CookieJar(unsafe=True)  # of an address, not a name
    async with TestClient(TestServer(application(questions, answers)), cookie_jar=jar) as made:
        yield made


def form(page: str) -> dict[str, str]:
    """What the page's form sends, without the answer."""
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))


async def answer_all(client: Any, stop: int = 10**6) -> int:
    """Give answers until there is no question; how many there were."""
    page, count = await (await client.post("/begin")).text(), 0
    while (fields := form(page)) and count < stop:
        page = await (await client.post("/answer", data={**fields, "answer": str(count % 6), "seconds": "1.5"})).text()
        count += 1
    return count


def test_all_are_asked_the_same_and_shown_what_is_not_asked(questions: Questions, task: Path) -> None:
    assert len(questions.names) == ASKED
    assert sorted(np.bincount(questions.labels, minlength=6)) == [1, 1, 1, 2, 2, 2]  # as equal as can be
    assert [len(each) for each in questions.examples] == [2] * 6
    assert questions == questions_of(open_set(task), ASKED)
    assert questions.order("a", 0) != questions.order("b", 0)
    assert sorted(questions.order("a", 0)) == list(range(ASKED))
    assert not any(Image.open(io.BytesIO(image)).getexif() for image in questions.images)
    assert len(questions_of(open_set(task), 1000).names) == 6 * (EACH - 2)


async def test_a_person_answers_three_times_all_and_may_take_a_break(client: Any, answers: Answers) -> None:
    assert "Begin" in await (await client.get("/")).text()
    assert await answer_all(client, 5) == 5
    page = await (await client.get("/")).text()  # the break
    assert 'value="5" max="27"' in page
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page
    assert await answer_all(client) == 22
    assert "Thank you" in await (await client.get("/")).text()
    given = answers.all()
    assert len(given) == 27 and len({(each.shot, each.image) for each in given}) == 27
    (token,) = [cookie.value for cookie in client.session.cookie_jar if cookie.key == COOKIE]
    assert {each.person for each in given} == {person_of(token)} and token not in str(given)


async def test_examples_are_shown_from_the_second_round_on(client: Any) -> None:
    assert await answer_all(client, ASKED) == ASKED
    page = await (await client.get("/")).text()
    shown = re.findall(r'src="(/example/\d+/\d)"', page)
    assert len(shown) == 6
    response = await client.get(shown[0])
    assert response.status == 200 and response.content_type == "image/jpeg"


async def test_an_answer_is_taken_once_and_only_when_it_is_due(client: Any, answers: Answers) -> None:
    fields = form(await (await client.post("/begin")).text())
    for choice in ("1", "2"):  # the second one: sent again, or the back button
        await client.post("/answer", data={**fields, "answer": choice})
    await client.post("/answer", data={**fields, "shot": "2", "answer": "1"})
    assert [(each.shot, each.answer) for each in answers.all()] == [(0, 1)]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"answer": "6"}, 400),
        ({"answer": "-2"}, 400),
        ({"answer": "1; DROP TABLE answers"}, 400),
        ({"shot": "3"}, 400),
        ({"number": "9"}, 400),
        ({"number": "٣"}, 400),
        ({"number": "9" * 500}, 400),
        ({"seconds": "1e9"}, 400),
        ({"csrf": "0" * 64}, 403),
        ({"csrf": "é"}, 403),
        ({"more": "x" * MOST_BYTES}, 413),
    ],
)
async def test_hostile_answers_are_refused(client: Any, answers: Answers, changes: dict[str, str], status: int) -> None:
    fields = form(await (await client.post("/begin")).text())
    response = await client.post("/answer", data={**fields, "answer": "1", **changes}, allow_redirects=False)
    assert response.status == status
    assert answers.all() == []


async def test_other_sites_cannot_send_and_other_paths_are_not_there(client: Any, answers: Answers) -> None:
    fields = {**form(await (await client.post("/begin")).text()), "answer": "1"}
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await client.post("/answer", data=fields, headers=headers)).status == 403
        assert (await client.post("/begin", headers=headers)).status == 403
    for path in ("/image/99999", "/image/-1", "/image/../classes.txt", "/example/99/0", "/example/0/9", "/etc/passwd"):
        found = await client.get(path)
        assert found.status in (400, 404), path
        assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert (await client.put("/answer")).status == 405
    client.session.cookie_jar.clear()
    for token in ("x" * 43, "' OR 1=1 --", "e"):
        headers = {"Cookie": f"{COOKIE}={token}"}
        found = await client.post("/answer", data=fields, headers=headers, allow_redirects=False)
        assert found.status == 303
    assert answers.all() == []
    page = await client.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy
    assert page.headers["Server"] == "openwit"


async def test_another_sites_name_that_leads_here_gets_nothing(
    client: Any, questions: Questions, answers: Answers
) -> None:
    """DNS rebinding: to a browser, the page of the other name is of the same site as this server."""
    names = ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "", "a b", "[::1")
    for name in names:
        headers = {"Host": name, "Origin": f"http://{name}"}
        for path in ("/", "/image/0"):
            assert (await client.get(path, headers=headers)).status in (400, 403), name
        assert (await client.post("/begin", headers=headers)).status in (400, 403), name
    for name in ("localhost:8080", "LOCALHOST", "192.168.1.7:80", "[::1]:8080"):
        assert (await client.get("/", headers={"Host": name})).status == 200, name
    async with TestClient(TestServer(application(questions, answers, ["Test.example"]))) as proxied:
        assert (await proxied.get("/", headers={"Host": "test.example"})).status == 200


def test_what_is_no_test_for_people_is_told(tmp_path: Path, task: Path) -> None:
    with pytest.raises(SetError, match="too few images of"):
        questions_of(open_set(helpers.class_folders(tmp_path / "two", 1)), 5)
    with pytest.raises(SetError, match="not one class an image"):
        questions_of(open_set(helpers.retrieval_folder(tmp_path / "r")), 5)
    file = str(tmp_path / "answers.duckdb")
    assert main(["human", str(task), "--answers", file]) == 2
    Answers(file, questions_of(open_set(task), 3)).close()
    assert main(["human", str(task), "--answers", file]) == 2  # no answers yet
    other = questions_of(open_set(shutil.copytree(task, tmp_path / "other")), 3)
    with pytest.raises(ConfigError, match="answers about another set"):
        Answers(file, other)
    (tmp_path / "text.duckdb").write_text("no database")
    with pytest.raises(ConfigError, match="cannot be opened"):
        Answers(str(tmp_path / "text.duckdb"), other)


def given(table: dict[str, list[int]], labels: list[int], shot: int = 0) -> list[Answer]:
    """Answers of people to images 0, 1, …"""
    return [
        Answer(person, shot, str(image), labels[image], answer)
        for person, own in table.items()
        for image, answer in enumerate(own)
    ]


def test_alpha_is_krippendorffs_own_example() -> None:
    """Krippendorff 2011, section C: four observers, twelve units, missing values; nominal alpha is 0.743."""
    nothing: Any = None
    a = [1, 2, 3, 3, 2, 1, 4, 1, 2, nothing, nothing, nothing]
    b = [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nothing, 3]
    c = [nothing, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nothing]
    d = [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nothing]
    ballots = [{str(unit): value for unit, value in enumerate(own) if value is not None} for own in (a, b, c, d)]
    assert krippendorff_alpha(ballots, 6) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha([{"x": 0, "y": 1}, {"x": 0, "y": 1}], 2) == 1
    assert math.isnan(krippendorff_alpha([{"x": 0}], 2))


def test_the_report_is_the_papers_table_and_stands_beside_a_model() -> None:
    labels = [0, 0, 1, 1, 2, 2]
    table = {"a": [0, 0, 1, 1, 2, 2], "b": [0, 0, 1, -1, 2, 1], "c": [0, 1, 1, -1, 0, 1]}
    per_class = [{"class": name, "accuracy": value} for name, value in zip("xyz", (0.9, 0.5, 0.1), strict=True)]
    model = Row("set", "zero_shot", {"acc1": Figure(0.5, 6)}, "acc1", tables={"per_class": per_class}, model="m")
    found = report(given(table, labels) + given(table, labels, 1), list("xyz"), model)
    figures = found["shots"]["0"]
    assert figures["accuracy"]["value"] == pytest.approx((6 + 4 + 2) / 18)
    assert figures["accuracy"]["low"] < figures["accuracy"]["value"] < figures["accuracy"]["high"]
    assert figures["accuracy_of_guesses"]["value"] == pytest.approx(12 / 16)
    assert figures["majority_accuracy"]["value"] == pytest.approx(4 / 6)
    assert figures["majority_accuracy_of_guesses"]["value"] == pytest.approx(5 / 6)
    assert [line["people"] for line in found["by_class"]] == pytest.approx([5 / 6, 4 / 6, 3 / 6])
    assert found["model"]["rank_correlation"]["value"] == pytest.approx(1.0)
    assert set(found["shots"]) == {"0", "1"}
    alone = report(given({"a": table["a"]}, labels), list("xyz"))
    assert alone["shots"]["0"]["accuracy"]["low"] is None
    assert alone["shots"]["0"]["people_for_interval"]["people"] is None


def test_how_many_people_it_takes_is_how_many_it_takes() -> None:
    rng = np.random.default_rng(0)
    needed = people_needed(rng.normal(0.7, 0.1, 400), 0.05)
    assert needed is not None and 15 <= needed <= 21  # (1.96 · 0.1 / 0.05)² is 15.4; Student's t asks for a few more
    halves = [2.1 * rng.normal(0.7, 0.1, needed).std(ddof=1) / math.sqrt(needed) for _ in range(300)]
    assert np.mean(halves) == pytest.approx(0.05, abs=0.004)


class Server:
    """A real `wit human --serve`."""

    def __init__(self, task: Path, file: Path):
        words = ["human", str(task), "--serve", "--answers", str(file), "--port", "0", "--questions", str(ASKED)]
        root = Path(__file__).resolve().parents[3]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words], stdout=subprocess.PIPE, text=True, cwd=file.parent,
            env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[0].rstrip("/")

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def test_in_chromium_a_killed_server_has_lost_no_answer_and_a_phone_and_a_keyboard_do(
    task: Path, questions: Questions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chromium is headless and driven by its own protocol: keys and taps; the server is killed in between, and
    goes on.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("NO CHROMIUM: the page of wit human is not tried in a browser; apt-get install chromium")
    file = tmp_path / "answers.duckdb"
    server = Server(task, file)
    try:
        asyncio.run(_in_chromium(chromium, server, task, file, tmp_path))
    finally:
        server.kill()
    kept = Answers(str(file), questions, read_only=True)
    found = kept.all()
    kept.close()
    assert len(found) == 4 and [each.answer for each in found].count(-1) == 1
    assert main(["human", str(task), "--answers", str(file), "--format", "json", "--questions", str(ASKED)]) == 0
    assert json.loads(capsys.readouterr().out)["shots"]["0"]["answers"] == 4


async def _in_chromium(chromium: str, server: Server, task: Path, file: Path, folder: Path) -> None:
    profile = folder / "profile"
    browser = await asyncio.create_subprocess_exec(
        chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port_file = profile / "DevToolsActivePort"
        while not port_file.is_file() or not port_file.read_text().strip():
            await asyncio.sleep(0.2)
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as response:
            page = next(each for each in json.load(response) if each["type"] == "page")
        async with aiohttp.ClientSession() as session, session.ws_connect(page["webSocketDebuggerUrl"]) as socket:
            await _answer_in(socket, server, task, file)
    finally:
        browser.kill()
        await browser.wait()


async def _answer_in(socket: Any, server: Server, task: Path, file: Path) -> None:
    number = 0

    async def ask(method: str, **parameters: Any) -> Any:
        nonlocal number
        number += 1
        await socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer = await socket.receive_json(timeout=120)
            if answer.get("id") == number:
                return answer.get("result", {})

    async def value(expression: str) -> Any:
        found = await ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return found.get("result", {}).get("value")

    async def until(expression: str) -> None:
        for _ in range(600):
            if await value(expression):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{expression} never came true; the page is {await value('document.body.innerText')}")

    async def press(key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        await ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        await ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def answered(count: int) -> None:
        await until(f"document.querySelector('progress')?.value === {count} && document.readyState === 'complete'")

    await ask("Page.navigate", url=server.url)
    await until("document.querySelector('form[action=\"/begin\"] button') !== null")
    await value("document.querySelector('form button').click()")
    await answered(0)
    await until("document.querySelector('.asked').naturalWidth > 0")
    await press("3")
    await answered(1)
    await press("Escape")
    await answered(2)
    # The server dies; the answers and the person's cookie are there when it is back, at another port.
    server.kill()
    again = Server(task, file)
    server.process, server.url = again.process, again.url
    # On a phone: nothing is wider than the screen, and buttons are as large as a finger.
    await ask("Emulation.setDeviceMetricsOverride", width=375, height=667, deviceScaleFactor=2, mobile=True)
    await ask("Emulation.setTouchEmulationEnabled", enabled=True)
    await ask("Page.navigate", url=server.url)
    await answered(2)
    assert await value("document.documentElement.scrollWidth <= window.innerWidth")
    assert await value("[...document.querySelectorAll('button')].every(b => b.getBoundingClientRect().height >= 44)")
    for count in (3, 4):
        button = "document.querySelectorAll('button[data-name]')[1]"
        await value(f"{button}.scrollIntoView({{block: 'center'}})")
        middle = "[b.x + b.width / 2, b.y + b.height / 2]"
        x, y = await value(f"(() => {{ const b = {button}.getBoundingClientRect(); return {middle}; }})()")
        await ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        await ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        await answered(count)
