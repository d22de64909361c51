"""`python -m demo [--out out/demo] [--quick]`: the whole path, offline, on a web of our own.

A small web is drawn and served on loopback, crawled over HTTP into a WARC, made into a dataset, trained on and
examined. The truth about the web is known, so the run ends with a score card: how much of each kind of dirt was caught,
and how much good was lost.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from PIL import Image
from rich.console import Console
from rich.table import Table

import dataset
from crawl.web.config import FetchConfig
from crawl.web.crawl_pages import harvest
from dataset.query.views import Dataset
from dataset.store.storage import Storage
from dataset.tables import to_parquet
from demo import captions
from demo.score import ScoreCard, held_out_captions, score
from demo.server import Server
from demo.site import build
from demo.web import CLASS_NAMES, LISTS, TRUTH, Web
from demo.world import HELD_OUT
from filters.images.perceptual import pdq

ROOT = Path(__file__).resolve().parent.parent
CONFIG, TRAINING = "configs/demo.yaml", "configs/train_demo.yaml"
PORT = 8649
"""Any other that is free is taken if this one is not; no address of the web holds it."""
USER_AGENT = "openwit/0.1 (+https://demo.example/crawler; crawler@demo.example)"
"""Nobody's: the demo asks loopback alone. As in its config."""
_CUT = """
SELECT c.url, j.text FROM _captions j JOIN _candidates c ON c.partition = j.partition AND c.row = j.row
WHERE list_contains(j.reworded, 'repeat')
"""
"""The candidates from whose texts a phrase of their site was cut off, with what is left."""
TIMES_CHANCE = 10.0
LEAST_FULL = 0.1


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    scale: float
    overrides: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    retrieval_pairs: int = 200
    judged: bool = True  # whether the model must have learned


FULL = Size(1.0)
QUICK = Size(
    0.05,
    overrides=(
        *("text.max_site_images_per_text=5", "dedup.max_images_per_text=4"),
        *("balance.cap=8", "fetch.timeout_s=1.5"),
    ),
    training=("training.epochs=2", "training.batch_size=64"),
    retrieval_pairs=20,
    judged=False,
)


class StepError(RuntimeError):
    """A command of the demo failed; it has said why itself."""


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns 0 only if everything that it shows holds."""
    parser = argparse.ArgumentParser(
        prog="python -m demo", description="Build and examine a dataset of a web of our own."
    )
    parser.add_argument("--out", default="out/demo", help="where everything goes (default: out/demo)")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the web, two epochs: a minute in all")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    out = Path(options.out) if Path.cwd() == ROOT else Path(options.out).absolute()  # wit runs in the repo
    try:
        return 0 if Demo(out, QUICK if options.quick else FULL, console).run() else 1
    except StepError as error:
        console.print(f"[red]{error}[/red]")
        return 1


class Demo:
    """One run of the demo."""

    def __init__(self, out: Path, size: Size, console: Console):
        self.out, self.size, self.console = out, size, console
        self.web_folder = out / "web"
        self.seconds: dict[str, float] = {}
        self.seed = int(yaml.safe_load((ROOT / CONFIG).read_text(encoding="utf-8"))["seed"])

    def run(self) -> bool:
        """Run everything, step by step; return whether all that it shows holds."""
        with self._step("draw a web of pages and pictures"):
            web = build(self.seed, self.size.scale)
            tasks = write_web(web, self.web_folder)
            self.console.print(
                f"{web.pages:,} pages and {web.images:,} images on {len(web.hosts)} hosts; {len(web.truth):,} pairs"
            )
        with Server(web, PORT) as server:
            with self._step("crawl its pages over HTTP into a WARC"):
                self._crawl(web, server)
            with self._step("build the dataset"):
                self._wit("run", CONFIG, "--out", str(self.out), *self._sets(self._overrides(server)))
        run = self.out / "runs" / "demo"
        with self._step("train a CLIP on it"):
            training = (f"dataset={self.out}", *self.size.training)
            self._wit("train", TRAINING, "--out", str(run), *self._sets(training))
        with self._step("examine the model"):
            pairs = str(self.size.retrieval_pairs)
            self._wit(
                "eval", str(run), "--tasks", str(tasks), "--dataset", str(self.out), "--pairs", pairs, silent=True
            )
            self._wit("report", str(self.out), silent=True)
        return self._conclude(web.truth, json.loads((run / "evaluation.json").read_text(encoding="utf-8")))

    # --- Steps -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self.console.rule(f"[bold]{len(self.seconds) + 1}. {name}", align="left")
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began
        self.console.print(f"[dim]{self.seconds[name]:.0f} s[/dim]")

    def _crawl(self, web: Web, server: Server) -> None:
        """Crawl, unless an earlier run has crawled the same web: its dataset then stays valid."""
        archive, mark = self.web_folder / "pages.warc.gz", self.web_folder / "crawled.json"
        state = json.dumps({"seed": self.seed, "scale": self.size.scale, "pages": web.checksum})
        if archive.exists() and mark.exists() and mark.read_text(encoding="utf-8") == state:
            self.console.print(f"{archive} holds it already")
            return
        mark.unlink(missing_ok=True)
        config = FetchConfig(resolve=server.resolve, user_agent=USER_AGENT, per_host_concurrency=8)
        report = harvest(web.seeds, str(archive), config, max_pages=10 * web.pages)
        mark.write_text(state, encoding="utf-8")
        self.console.print(f"{report.pages:,} pages, {report.page_bytes / 1e6:.1f} MB of HTML, into {archive}")

    def _overrides(self, server: Server) -> tuple[str, ...]:
        return (
            f"sources={json.dumps([str(self.web_folder / 'pages.warc.gz')])}",
            f"fetch.resolve={json.dumps(server.resolve)}",
            f"hashlists.files={json.dumps([str(self.web_folder / f'listed.{kind}') for kind in LISTS])}",
            f"decontaminate.folders={json.dumps([str(self.web_folder / 'zero-shot')])}",
            *self.size.overrides,
        )

    @staticmethod
    def _sets(overrides: tuple[str, ...]) -> list[str]:
        return [word for override in overrides for word in ("--set", override)]

    def _wit(self, *words: str, silent: bool = False) -> None:
        """A wit command, as a user would type it; `silent` if the demo shows its result itself. Raises StepError."""
        self.console.print(f"[dim]$ wit {' '.join(words[:4])}{' …' if len(words) > 4 else ''}[/dim]")
        sys.stdout.flush()
        answer = subprocess.DEVNULL if silent else None
        finished = subprocess.run([sys.executable, "-m", "pipeline", *words], cwd=ROOT, stdout=answer, check=False)
        if finished.returncode:
            raise StepError(f"wit {words[0]} failed with status {finished.returncode}")

    # --- What came of it -------------------------------------------------------------------------------------------

    def _conclude(self, truth: pa.Table, evaluation: list[dict[str, Any]]) -> bool:
        opened = dataset.open(str(self.out))
        tables = {
            "dropped": opened.sql("SELECT url, text, stage, reason FROM dropped").to_arrow_table(),
            "pairs": opened.sql("SELECT url, text, split FROM pairs").to_arrow_table(),
            "funnel": opened.sql("SELECT stage, input, kept, dropped FROM funnel").to_arrow_table(),
            "cut": opened.sql(_CUT).to_arrow_table(),
        }
        card = score(truth, **tables)
        self._show_funnel(tables["funnel"])
        self._show_card(card)
        self._show_evaluation(evaluation)
        holds = self._show_checks(card, tables["pairs"], truth, evaluation)
        self._show_next(opened)
        return holds

    def _show_funnel(self, funnel: pa.Table) -> None:
        table = Table("stage", "input", "kept", "dropped", title="The funnel", title_justify="left", box=None)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in funnel.to_pylist():
            table.add_row(row["stage"], *(f"{row[name]:,}" for name in ("input", "kept", "dropped")))
        self._print(table)

    def _show_card(self, card: ScoreCard) -> None:
        table = Table(
            "stage", "reason", "planted", "caught", "dropped", "precision", "recall",
            title="The score card: what each filter was given, and what it did", title_justify="left", box=None,
        )  # fmt: skip
        for column in table.columns[2:]:
            column.justify = "right"
        for row in card.filters:
            shares = ("" if share is None else f"{share:.1%}" for share in (row.precision, row.recall))
            planted, caught = ("", "") if row.planted is None else (f"{row.planted:,}", f"{row.caught:,}")
            table.add_row(row.stage, row.reason, planted, caught, f"{row.dropped:,}", *shares)
        self._print(table)
        lost = ", ".join(f"{reason} {n}" for reason, n in card.lost.items()) or "none"
        kept = ", ".join(f"{kind} {n}" for kind, n in card.dirt_kept.items()) or "none"
        self.console.print(
            f"Good pairs lost by mistake: {sum(card.lost.values()):,} of {card.good:,} ({card.lost_share:.2%}): {lost}"
        )
        self.console.print(f"Dirt that got into the dataset: {kept}")
        cut = card.phrases
        others = f"{cut.others:,} other texts were cut" if cut.others else "no other text was cut"
        self.console.print(f"Phrases of sites cut off from captions: {cut.caught:,} of {cut.planted:,}; {others}")

    def _show_evaluation(self, evaluation: list[dict[str, Any]]) -> None:
        table = Table(
            "task",
            "metric",
            "value",
            "chance",
            "× chance",
            "samples",
            "of",
            title="The model",
            title_justify="left",
            box=None,
        )
        for column in table.columns[2:]:
            column.justify = "right"
        for row in evaluation:
            rank = "rank" in row["metric"]
            value, chance = (f"{row[name]:.1f}" if rank else f"{row[name]:.1%}" for name in ("value", "chance"))
            times = "" if rank or not row["chance"] else f"{row['value'] / row['chance']:.1f}"
            table.add_row(row["task"], row["metric"], value, chance, times, str(row["samples"]), str(row["candidates"]))
        self._print(table)
        self.console.print(
            f"zero-shot: pictures of {len(HELD_OUT)} combinations of colour and shape that no training caption "
            f"and no training image shows; the answer is chosen among all {len(CLASS_NAMES)}."
        )

    def _show_checks(self, card: ScoreCard, pairs: pa.Table, truth: pa.Table, evaluation: list[dict[str, Any]]) -> bool:
        """What the demo promises, each with whether it holds."""
        named = held_out_captions(pairs["text"].to_pylist())
        examined = set(truth.filter(pc.equal(truth["expected"], "in_evaluation_set"))["url"].to_pylist())
        leaked = examined & set(pairs["url"].to_pylist())
        top1 = next(row for row in evaluation if row["metric"] == "top1")
        times = top1["value"] / top1["chance"]
        checks = [
            ("every reason of the vocabulary dropped something", not card.silent, ", ".join(card.silent)),
            ("nothing is in the dataset that was not planted", not card.unplanned, f"{card.unplanned} rows"),
            (f"the cap drops at least {LEAST_FULL:.0%} of what reaches it", card.query_full_share >= LEAST_FULL,
             f"{card.query_full_share:.1%}"),
            ("no caption names a held-out combination", not named, "; ".join(named[:3])),
            ("no image of the evaluation set is in the dataset", not leaked, f"{len(leaked)} of {len(examined)}"),
        ]  # fmt: skip
        if self.size.judged:
            checks.append(
                (f"zero-shot is at least {TIMES_CHANCE:.0f} × chance", times >= TIMES_CHANCE, f"{times:.1f} ×")
            )
        self.console.rule("[bold]Does it hold?", align="left")
        for sentence, holds, detail in checks:
            mark = "[green]yes[/green]" if holds else "[red]NO [/red]"
            self.console.print(f"{mark} {sentence}{f' ({detail})' if detail and not detail.startswith('0 ') else ''}")
        return all(holds for _, holds, _ in checks)

    def _show_next(self, opened: Dataset) -> None:
        urls = opened.sql(
            "SELECT url FROM dropped WHERE reason = 'near_duplicate_image' ORDER BY url LIMIT 1"
        ).fetchall()
        wit = "wit" if shutil.which("wit") else ".venv/bin/wit"
        timing = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        self.console.rule("[bold]What to try next", align="left")
        lines = [
            f"open {self.out / 'report.html'} in a browser",
            *(f"{wit} explain {self.out} {url}" for (url,) in urls),
            f'{wit} sql {self.out} "SELECT reason, count(*) AS n FROM dropped GROUP BY ALL ORDER BY n DESC"',
            f'{wit} sql {self.out} "SELECT query, candidate_count, kept_count FROM queries ORDER BY 2 DESC LIMIT 20"',
            f"{wit} audit {self.out}",
            f"{wit} export {self.out / 'runs' / 'demo'} {self.out / 'model'}",
        ]
        for line in lines:
            self.console.print(line, soft_wrap=True)
        self.console.print(f"[dim]{timing}; {sum(self.seconds.values()):.0f} s in all[/dim]")

    def _print(self, table: Table) -> None:
        self.console.print()
        self.console.print(table)
        self.console.print()


def write_web(web: Web, folder: Path) -> Path:
    """Write what the run needs beside the pages: truth, hash list and zero-shot task; answers the task's folder."""
    storage = Storage(str(folder))
    storage.write("truth.parquet", to_parquet(web.truth, TRUTH))
    for kind in LISTS:
        digests = [hash_of(kind, body) for body in web.listed[kind]]
        storage.write(f"listed.{kind}", "".join(f"{digest}\n" for digest in digests).encode())
    for name, body in web.evaluation.items():
        storage.write(f"zero-shot/{name.replace(' ', '-')}", body)
    tasks = folder / "zero-shot"
    for name in CLASS_NAMES:  # a class without pictures is an answer to choose from all the same
        (tasks / name.replace(" ", "-")).mkdir(parents=True, exist_ok=True)
    storage.write(
        "zero-shot/classes.txt", "".join(f"{name.replace(' ', '-')}\t{name}\n" for name in CLASS_NAMES).encode()
    )
    storage.write("zero-shot/templates.txt", "".join(f"{template}\n" for template in captions.PROMPTS).encode())
    return tasks


def hash_of(kind: str, body: bytes) -> str:
    """Return an image's hash as lists have it: of its bytes, or of its look."""
    if kind == "pdq":
        return pdq(np.asarray(Image.open(BytesIO(body)).convert("RGB")))[0].hex()
    return hashlib.new(kind, body, usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
