"""What may be typed behind `wit`: every command, its arguments, and what they mean."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from dataset.display import line
from dataset.stages import names
from pipeline.exit_status import UsageError


class _Parser(argparse.ArgumentParser):
    """One whose errors, which repeat what was typed, have nothing that a terminal obeys: a shell's pattern may have put
    anybody's file names there."""

    def error(self, message: str) -> NoReturn:
        super().error(line(message))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `command` of what it answers is the command's name."""
    whole = _Parser(
        prog="wit", description="Builds image-text datasets from web archives, audits them, and trains a CLIP on them."
    )
    # Stands before the command or after it. A command's own default would overwrite what stood before, so it has none.
    whole.set_defaults(debug=False)
    common = _Parser(add_help=False)
    for each in (whole, common):
        each.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the whole trace of an error"
        )
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, text: str, **more: Any) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=text, description=text, parents=[common], **more)
        parser.set_defaults(command=name)
        return parser

    def add_format(parser: argparse.ArgumentParser, *more: str) -> None:
        forms = ["table", "csv", "json", "jsonl", "parquet", "markdown", *more]
        parser.add_argument("--format", choices=forms, help="by default what FILE's name ends in, else a table")
        parser.add_argument("--output", metavar="FILE", help="write the answer to a file outside of the dataset")
        parser.add_argument(
            "--spreadsheet", action="store_true", help="CSV for a spreadsheet: what begins as a formula is made a text"
        )

    def settable(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, e.g. balance.cap=1000"
        )

    def add_weights(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--weights",
            choices=["auto", "model", "ema"],
            default="auto",
            help="the last step's, or their moving average; by default the average if the run kept one",
        )

    def add_image_sources(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--features",
            metavar="DIR",
            help="where features are kept; by default in the run, or in ~/.cache/openwit/features",
        )
        parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
        parser.add_argument(
            "--batch-size", type=int, default=256, metavar="N", help="images that are encoded at a time"
        )

    parser = command("run", "build or resume a dataset")
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, or the name of one in configs/, such as archive")
    parser.add_argument("--out", metavar="URL", help="where the dataset goes; overrides the config's `out`")
    settable(parser)
    parser.add_argument(
        "--preset", action="append", default=[], metavar="NAME", help="lay a preset of configs/presets over the config"
    )
    parser.add_argument(
        "--to", metavar="STAGE", choices=names(), default=names()[-1], help=f"stop after: {', '.join(names())}"
    )
    parser.add_argument("--retry", choices=["none", "transient"], help="fetch again what failed in a way that may pass")
    parser.add_argument(
        "--checksum",
        action="store_true",
        help="read every source again, to notice one that changed and has its size and time of change still",
    )
    parser.add_argument("--sample", metavar="SHARE", help="a cheap trial on a share of the pages, e.g. 0.1%% or 0.001")
    parser.add_argument(
        "--workers", type=int, help="CPUs to use, with Ray; 0 does one task after the other, without it"
    )
    parser.add_argument("--address", help="a Ray cluster's address; by default Ray runs on this machine")

    parser = command("new", "write a config to start from: every key, its default and what it means")
    parser.add_argument("name", metavar="NAME", help="the new file, NAME.yaml, and what the run is called")
    parser.add_argument(
        "--like", metavar="CONFIG", default="archive", help="which config it begins as; archive by default"
    )

    parser = command("lists", "public lists of domains for text.blocked_domains: show them, or fetch one into a folder")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the list to fetch; without it, all are shown")
    parser.add_argument("dir", nargs="?", default="lists", metavar="DIR", help="where it goes; lists by default")
    parser.add_argument("--user-agent", metavar="TEXT", help="who asks, with your address: mylab/1.0 (+https://…)")
    parser.add_argument("--format", choices=["table", "json", "csv"], default="table")

    parser = command("plan", "what a build costs, before it runs: hours, bytes, requests, dollars, nodes")
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument(
        "--trial", metavar="OUT", help="what `wit run CONFIG --sample 2%%` built; by default CONFIG's out"
    )
    parser.add_argument(
        "--pairs", metavar="N", help="kept in the end, e.g. 400e6; by default all that the sources hold"
    )
    parser.add_argument("--deadline", type=float, default=168.0, metavar="HOURS", help="a week by default")
    parser.add_argument(
        "--assume", action="append", default=[], metavar="NAME=VALUE", help="another value of what the answer assumes"
    )
    settable(parser)
    parser.add_argument("--format", choices=["text", "json"], default="text")

    parser = command("status", "what is done, what is left, the funnel so far")
    parser.add_argument("out", metavar="OUT")
    add_format(parser)

    parser = command("sql", "ask DuckDB about a dataset's views")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument(
        "query", metavar="QUERY", nargs="?", help="from standard input if it is -; without one, a shell"
    )
    parser.add_argument("--file", metavar="FILE", help="a file with the query")
    parser.add_argument(
        "--deep", action="store_true", help="hold all that is read against its checksums, not 2 GiB of it"
    )
    parser.add_argument(
        "--allow-files", action="store_true", help="let the query read files of your own too; it still writes none"
    )
    add_format(parser)

    parser = command("audit", "run a named query of sql/audits; without NAME, list them")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("name", metavar="NAME", nargs="?")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the audit")
    parser.add_argument("--audits", metavar="DIR", help="a folder of .sql files of your own, which are audits too")
    parser.add_argument("--all", action="store_true", help="write every audit to --output DIR, as CSV by default")
    add_format(parser)

    parser = command("verify", "whether every file is what was committed; exit status 1 if one is not")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--deep", action="store_true", help="read every byte, not the files' lengths alone")
    parser.add_argument("--repair", action="store_true", help="take away what is damaged: `wit run` makes it anew")
    parser.add_argument("--format", choices=["table", "json"], default="table")

    parser = command("balance", "what other caps would give, without writing anything")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--caps", type=_caps, required=True, metavar="N,N", help="pairs a query, e.g. 1000,5000,20000")
    parser.add_argument(
        "--before",
        choices=["prebalance", "balance"],
        help="of all matched pairs, or of those that the filters left; by default the latter as soon as there are",
    )
    add_format(parser)

    parser = command("explain", "one pair's whole story, from the archive's byte to its shard or its reason")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument(
        "which",
        metavar="WHICH",
        help="an image's or page's URL, a pair_id, a SHA-256, a sample's key, an image file, or a part of a text",
    )
    parser.add_argument("--most", type=_positive, default=10, metavar="N", help="how many occurrences are told; 10")
    parser.add_argument(
        "--exact", action="store_true", help="count the rank in a full query, which of many million pairs is estimated"
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")

    parser = command("report", "write OUT/report.html: funnel, plots, sample galleries in one file")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--show-unsafe", action="store_true", help="do not blur the images of a high nsfw_probability")

    parser.add_argument("--audits", metavar="DIR", help="a folder of audits of your own, whose answers the page shows")

    parser = command("sheet", "write OUT/decontamination.html: image pairs around decontaminate's threshold")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--most", type=int, default=40, metavar="N", help="pairs on each side of a threshold")
    parser.add_argument("--show-unsafe", action="store_true", help="as for wit report")

    parser = command("overlap", "what evaluation images in a dataset do to a checkpoint's accuracy")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="as for wit eval")
    parser.add_argument(
        "out", metavar="OUT", help="the dataset that it was trained on; the analysis goes to OUT/overlap"
    )
    parser.add_argument("--tasks", nargs="+", required=True, metavar="DIR", help="folders of class folders of images")
    parser.add_argument("--detector", metavar="FILE", help="YAML with `decontaminate`; by default OUT's own config")
    parser.add_argument(
        "--max-hamming", type=int, metavar="BITS", help="at most of PDQ's 256, 0 to 31, instead of that"
    )
    parser.add_argument("--format", choices=["table", "json"], default="table")

    queries = command("queries", "the query list")
    below = queries.add_subparsers(title="commands", metavar="COMMAND")
    parser = below.add_parser("build", help="build a query list", description="build a query list", parents=[common])
    parser.set_defaults(command="queries build")
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--out", metavar="FILE", help="where the list goes (Parquet); overrides the config's `out`")
    settable(parser)
    parser.add_argument("--workers", type=int, help="CPUs that count dumps and pageviews; 0 uses one, without Ray")
    parser.add_argument("--address", help="a Ray cluster's address; by default Ray runs on this machine")

    parser = command("train", "train a CLIP on a dataset's shards; resumes by itself")
    parser.add_argument("config", metavar="CONFIG", nargs="?")
    parser.add_argument(
        "--from-open-clip",
        metavar="PARAMS",
        help="instead of CONFIG, the params.txt of a run of open_clip_train's; says what it could not carry over",
    )
    parser.add_argument("--write-config", metavar="FILE", help="no run: write the config, overrides and all, as YAML")
    parser.add_argument("--out", metavar="RUN", help="the run's folder; DATASET/runs/NAME by default")
    settable(parser)
    parser.add_argument(
        "--overfit",
        type=int,
        metavar="N",
        help="no run but a check: learn N samples by heart, and say why if that fails",
    )
    parser.add_argument(
        "--show-batch", metavar="FILE", help="no run: write the first batch, as the model sees it, as HTML"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="no run: say what it would take of time, memory and disk"
    )
    parser.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs, for --dry-run; by default distributed.ranks or this machine's"
    )
    parser.add_argument(
        "--gpu-memory", type=float, metavar="GB", help="memory of each GPU, for --dry-run; by default this machine's"
    )
    parser.add_argument("--rate", type=float, metavar="SAMPLES/S", help="for --dry-run: speed; by default the log's")

    parser = command(
        "eval", "examine a model: zero-shot, retrieval, linear probes and more, with chance and random weights"
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a run's folder, a checkpoint, an exported folder, a Hugging Face CLIP's, or open_clip:NAME[:TAG or FILE]",
    )
    parser.add_argument(
        "--tasks", nargs="*", default=[], metavar="SET", help="evaluation sets, of any form in docs/evaluation.md"
    )
    parser.add_argument(
        "--evaluators",
        type=_names,
        metavar="NAME,…",
        help="zero_shot, retrieval, …, or a YAML of them and their options; by default all that the sets allow",
    )
    parser.add_argument(
        "--dataset", metavar="OUT", help="dataset whose held-out pairs are retrieved; the run's own by default"
    )
    parser.add_argument(
        "--pairs", type=int, metavar="N", help="how many pairs retrieval chooses from; 500 held-out pairs, all of a set"
    )
    parser.add_argument(
        "--format",
        choices=["table", "json", "clip-benchmark", "datacomp", "csv", "markdown", "parquet", "html"],
        default="table",
    )
    parser.add_argument("--output", metavar="FILE", help="write there instead of printing")
    parser.add_argument(
        "--in-distribution",
        nargs="*",
        default=[],
        metavar="SET",
        help="for robustness: the sets that shifted ones are compared with",
    )
    parser.add_argument(
        "--references", metavar="FILE", help="for robustness: CSV of other models' accuracy (model,dataset,acc1)"
    )
    parser.add_argument(
        "--hierarchy",
        metavar="FILE",
        help="for hierarchy: CSV of class,level,… from fine to coarse, or WordNet's data.noun",
    )
    parser.add_argument(
        "--acknowledge-bias",
        action="store_true",
        help="for bias: I have read what docs/evaluation.md says of its limits",
    )
    parser.add_argument("--no-baseline", action="store_true", help="do not examine random weights beside the model's")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="for random weights and few-shot samples")
    add_image_sources(parser)
    add_weights(parser)

    parser = command("compare", "which differences between examined models are more than noise")
    parser.add_argument(
        "examined",
        nargs="+",
        metavar="A B …",
        help="runs that `wit eval` examined, or files of `wit eval --format json`",
    )
    parser.add_argument("--format", choices=["table", "json"], default="table")

    parser = command(
        "search", "the images of a dataset that are nearest to a text or an image, and whether it has an image"
    )
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("query", metavar="TEXT", nargs="?", help='such as "two red circles"')
    parser.add_argument("--image", metavar="FILE", help="instead of TEXT: an image; says whether it is in the data")
    parser.add_argument("--count", type=int, default=24, metavar="N", help="how many images are found")
    parser.add_argument(
        "--checkpoint",
        metavar="CHECKPOINT",
        help="what encodes, as for wit eval; by default what the dataset's embeddings were made by, or its only run",
    )
    parser.add_argument("--exact", action="store_true", help="look at every image, also of a million and more")
    add_image_sources(parser)
    parser.add_argument("--show-unsafe", action="store_true", help="as for wit report")
    add_format(parser, "html")

    parser = command("why", "why a model fails at a set: from what its data holds of each class to its accuracy")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="as for wit eval")
    parser.add_argument("--task", required=True, metavar="SET", help="an evaluation set with classes")
    parser.add_argument("--dataset", required=True, metavar="OUT", help="what the model was trained on")
    parser.add_argument(
        "--most", type=int, default=2000, metavar="N", help="images of each of the set's splits at most"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="for all that is drawn at random")
    add_image_sources(parser)
    parser.add_argument("--show-unsafe", action="store_true", help="as for wit report")
    parser.add_argument("--format", choices=["table", "json", "html"], help="by default what FILE's name ends in")
    parser.add_argument("--output", metavar="FILE", help="write there instead of printing")

    parser = command("human", "have people take the zero-, one- and two-shot test, and compare them with a model")
    parser.add_argument("dir", metavar="SET", help="an evaluation set with a class an image, as for wit eval")
    parser.add_argument("--serve", action="store_true", help="ask people, by a page; without it, the report")
    parser.add_argument("--answers", metavar="FILE", help="where answers are; human-SET.duckdb by default")
    parser.add_argument("--questions", type=int, default=40, metavar="N", help="images that all are asked about; 40")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="for the choice of images")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at; this machine alone by default")
    parser.add_argument("--port", type=int, default=8080, help="8080; 0 takes any")
    parser.add_argument("--name", action="append", default=[], help="a name by which people reach it, as by a proxy's")
    parser.add_argument("--model", metavar="RUN|FILE", help="for the report: what wit eval found of a model on the set")
    parser.add_argument(
        "--interval",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="how many people give an accuracy ± SHARE; 0.05",
    )
    parser.add_argument("--format", choices=["table", "json"], default="table")

    parser = command("experiment", "is my data better: train on several datasets, alike and often enough, and compare")
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, such as configs/experiment_clipart.yaml")
    settable(parser)
    parser.add_argument("--format", choices=["table", "json"], default="table")

    parser = command("export", "write a checkpoint as a model that open_clip loads")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("dir", metavar="DIR")
    parser.add_argument("--onnx", action="store_true", help="write both towers as ONNX too, checked against the model")
    parser.add_argument("--hub", action="store_true", help="make DIR ready for the Hugging Face Hub: with a model card")
    add_weights(parser)

    parser = command("submit", "run a wit command as a Ray job: wit submit -- wit run CONFIG")
    parser.add_argument("--address", help="the cluster's job server; http://127.0.0.1:8265 by default")
    parser.add_argument("--working-dir", help="what is sent to the cluster; the repo by default")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- wit ...")
    return whole


def _names(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _caps(text: str) -> list[int]:
    try:
        return [int(item) for item in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers like 1000,5000,20000, not {text!r}") from None


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1, not {text!r}")
    return number


def share(text: str) -> float:
    """Return 0.001 of `0.1%`. Raises UsageError."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"--sample takes a share such as 0.1% or 0.001, not {text!r}") from None
