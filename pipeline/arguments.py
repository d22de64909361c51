"""What may be typed behind `wit`: every command, its arguments, and what they mean."""

from __future__ import annotations

import argparse
from typing import Any

from dataset.stages import names


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; `command` of what it answers is the command's name."""
    whole = argparse.ArgumentParser(
        prog="wit", description="Builds image-text datasets from web archives, audits them, and trains a CLIP on them."
    )
    # Stands before the command or after it. A command's own default would overwrite what stood before, so it has none.
    whole.set_defaults(debug=False)
    common = argparse.ArgumentParser(add_help=False)
    for each in (whole, common):
        each.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the whole trace of an error"
        )
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, text: str, **more: Any) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, parents=[common], **more)
        made.set_defaults(command=name)
        return made

    def formatted(made: argparse.ArgumentParser, *more: str) -> None:
        forms = ["table", "csv", "json", "jsonl", "parquet", "markdown", *more]
        made.add_argument("--format", choices=forms, help="by default what FILE's name ends in, else a table")
        made.add_argument("--output", metavar="FILE", help="write the answer to a file outside of the dataset")
        made.add_argument(
            "--spreadsheet", action="store_true", help="CSV for a spreadsheet: what begins as a formula is made a text"
        )

    def settable(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, e.g. balance.cap=1000"
        )

    def weighted(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--weights",
            choices=["auto", "model", "ema"],
            default="auto",
            help="the last step's, or their moving average; by default the average if the run kept one",
        )

    def looking(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--features",
            metavar="DIR",
            help="where features are kept; by default in the run, or in ~/.cache/openwit/features",
        )
        made.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
        made.add_argument("--batch-size", type=int, default=256, metavar="N", help="images that are encoded at a time")

    made = command("run", "build or resume a dataset")
    made.add_argument("config", metavar="CONFIG", help="a YAML file, or the name of one in configs/, such as archive")
    made.add_argument("--out", metavar="URL", help="where the dataset goes; overrides the config's `out`")
    settable(made)
    made.add_argument(
        "--preset", action="append", default=[], metavar="NAME", help="lay a preset of configs/presets over the config"
    )
    made.add_argument(
        "--to", metavar="STAGE", choices=names(), default=names()[-1], help=f"stop after: {', '.join(names())}"
    )
    made.add_argument("--retry", choices=["none", "transient"], help="fetch again what failed in a way that may pass")
    made.add_argument(
        "--checksum",
        action="store_true",
        help="read every source again, to notice one that changed and has its size and time of change still",
    )
    made.add_argument("--sample", metavar="SHARE", help="a cheap trial on a share of the pages, e.g. 0.1%% or 0.001")
    made.add_argument("--workers", type=int, help="CPUs to use, with Ray; 0 does one task after the other, without it")
    made.add_argument("--address", help="a Ray cluster's address; by default Ray runs on this machine")

    made = command("new", "write a config to start from: every key, its default and what it means")
    made.add_argument("name", metavar="NAME", help="the new file, NAME.yaml, and what the run is called")
    made.add_argument(
        "--like", metavar="CONFIG", default="archive", help="which config it begins as; archive by default"
    )

    made = command("plan", "what a build costs, before it runs: hours, bytes, requests, dollars, nodes")
    made.add_argument("config", metavar="CONFIG")
    made.add_argument(
        "--trial", metavar="OUT", help="what `wit run CONFIG --sample 2%%` built; by default CONFIG's out"
    )
    made.add_argument("--pairs", metavar="N", help="kept in the end, e.g. 400e6; by default all that the sources hold")
    made.add_argument("--deadline", type=float, default=168.0, metavar="HOURS", help="a week by default")
    made.add_argument(
        "--assume", action="append", default=[], metavar="NAME=VALUE", help="another value of what the answer assumes"
    )
    settable(made)
    made.add_argument("--format", choices=["text", "json"], default="text")

    made = command("status", "what is done, what is left, the funnel so far")
    made.add_argument("out", metavar="OUT")
    formatted(made)

    made = command("sql", "ask DuckDB about a dataset's views")
    made.add_argument("out", metavar="OUT")
    made.add_argument("query", metavar="QUERY", nargs="?", help="from standard input if it is -; without one, a shell")
    made.add_argument("--file", metavar="FILE", help="a file with the query")
    made.add_argument(
        "--deep", action="store_true", help="hold all that is read against its checksums, not 2 GiB of it"
    )
    made.add_argument(
        "--allow-files", action="store_true", help="let the query read files of your own too; it still writes none"
    )
    formatted(made)

    made = command("audit", "run a named query of sql/audits; without NAME, list them")
    made.add_argument("out", metavar="OUT")
    made.add_argument("name", metavar="NAME", nargs="?")
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the audit")
    made.add_argument("--audits", metavar="DIR", help="a folder of .sql files of your own, which are audits too")
    made.add_argument("--all", action="store_true", help="write every audit to --output DIR, as CSV by default")
    formatted(made)

    made = command("verify", "whether every file is what was committed; exit status 1 if one is not")
    made.add_argument("out", metavar="OUT")
    made.add_argument("--deep", action="store_true", help="read every byte, not the files' lengths alone")
    made.add_argument("--repair", action="store_true", help="take away what is damaged: `wit run` makes it anew")
    made.add_argument("--format", choices=["table", "json"], default="table")

    made = command("balance", "what other caps would give, without writing anything")
    made.add_argument("out", metavar="OUT")
    made.add_argument("--caps", type=_caps, required=True, metavar="N,N", help="pairs a query, e.g. 1000,5000,20000")
    made.add_argument(
        "--before",
        choices=["prebalance", "balance"],
        help="of all matched pairs, or of those that the filters left; by default the latter as soon as there are",
    )
    formatted(made)

    made = command("explain", "one pair's whole story, from the archive's byte to its shard or its reason")
    made.add_argument("out", metavar="OUT")
    made.add_argument(
        "which",
        metavar="WHICH",
        help="an image's or page's URL, a pair_id, a SHA-256, a sample's key, an image file, or a part of a text",
    )
    made.add_argument("--most", type=_positive, default=10, metavar="N", help="how many occurrences are told; 10")
    made.add_argument("--format", choices=["text", "json"], default="text")
    made.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")

    made = command("report", "write OUT/report.html: funnel, plots, sample galleries in one file")
    made.add_argument("out", metavar="OUT")
    made.add_argument("--show-unsafe", action="store_true", help="do not blur the images of a high nsfw_probability")

    made.add_argument("--audits", metavar="DIR", help="a folder of audits of your own, whose answers the page shows")

    made = command("sheet", "write OUT/decontamination.html: image pairs around decontaminate's threshold")
    made.add_argument("out", metavar="OUT")
    made.add_argument("--most", type=int, default=40, metavar="N", help="pairs on each side of a threshold")
    made.add_argument("--show-unsafe", action="store_true", help="as for wit report")

    made = command("overlap", "what evaluation images in a dataset do to a checkpoint's accuracy")
    made.add_argument("checkpoint", metavar="CHECKPOINT", help="as for wit eval")
    made.add_argument("out", metavar="OUT", help="the dataset that it was trained on; the analysis goes to OUT/overlap")
    made.add_argument("--tasks", nargs="+", required=True, metavar="DIR", help="folders of class folders of images")
    made.add_argument("--detector", metavar="FILE", help="YAML with `decontaminate`; by default OUT's own config")
    made.add_argument("--max-hamming", type=int, metavar="BITS", help="of PDQ's 256, up to 31, instead of that")
    made.add_argument("--format", choices=["table", "json"], default="table")

    queries = command("queries", "the query list")
    below = queries.add_subparsers(title="commands", metavar="COMMAND")
    made = below.add_parser("build", help="build a query list", description="build a query list", parents=[common])
    made.set_defaults(command="queries build")
    made.add_argument("config", metavar="CONFIG")
    made.add_argument("--out", metavar="FILE", help="where the list goes (Parquet); overrides the config's `out`")
    settable(made)
    made.add_argument("--workers", type=int, help="CPUs that count dumps and pageviews; 0 uses one, without Ray")
    made.add_argument("--address", help="a Ray cluster's address; by default Ray runs on this machine")

    made = command("train", "train a CLIP on a dataset's shards; resumes by itself")
    made.add_argument("config", metavar="CONFIG", nargs="?")
    made.add_argument(
        "--from-open-clip",
        metavar="PARAMS",
        help="instead of CONFIG, the params.txt of a run of open_clip_train's; says what it could not carry over",
    )
    made.add_argument("--write-config", metavar="FILE", help="no run: write the config, overrides and all, as YAML")
    made.add_argument("--out", metavar="RUN", help="the run's folder; DATASET/runs/NAME by default")
    settable(made)
    made.add_argument(
        "--overfit",
        type=int,
        metavar="N",
        help="no run but a check: learn N samples by heart, and say why if that fails",
    )
    made.add_argument(
        "--show-batch", metavar="FILE", help="no run: write the first batch, as the model sees it, as HTML"
    )
    made.add_argument("--dry-run", action="store_true", help="no run: say what it would take of time, memory and disk")
    made.add_argument(
        "--gpus", type=int, metavar="N", help="of --dry-run: GPUs; `ranks`, or this machine's, by default"
    )
    made.add_argument("--gpu-memory", type=float, metavar="GB", help="of --dry-run: each GPU's memory; this machine's")
    made.add_argument("--rate", type=float, metavar="SAMPLES/S", help="of --dry-run: speed; the run's log by default")

    made = command(
        "eval", "examine a model: zero-shot, retrieval, linear probes and more, with chance and random weights"
    )
    made.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a run's folder, a checkpoint, an exported folder, a Hugging Face CLIP's, or open_clip:NAME[:TAG or FILE]",
    )
    made.add_argument(
        "--tasks", nargs="*", default=[], metavar="SET", help="evaluation sets, of any form in docs/evaluation.md"
    )
    made.add_argument(
        "--evaluators",
        type=_names,
        metavar="NAME,…",
        help="zero_shot, retrieval, …, or a YAML of them and their options; by default all that the sets allow",
    )
    made.add_argument(
        "--dataset", metavar="OUT", help="dataset whose held-out pairs are retrieved; the run's own by default"
    )
    made.add_argument(
        "--pairs", type=int, metavar="N", help="how many pairs retrieval chooses from; 500 held-out pairs, all of a set"
    )
    made.add_argument(
        "--format",
        choices=["table", "json", "clip-benchmark", "datacomp", "csv", "markdown", "parquet", "html"],
        default="table",
    )
    made.add_argument("--output", metavar="FILE", help="write there instead of printing")
    made.add_argument(
        "--in-distribution",
        nargs="*",
        default=[],
        metavar="SET",
        help="of robustness: what shifted sets are held against",
    )
    made.add_argument(
        "--references", metavar="FILE", help="of robustness: CSV of other models' accuracy (model,dataset,acc1)"
    )
    made.add_argument(
        "--hierarchy",
        metavar="FILE",
        help="of hierarchy: CSV of class,level,… from fine to coarse, or WordNet's data.noun",
    )
    made.add_argument(
        "--acknowledge-bias",
        action="store_true",
        help="of bias: I have read what docs/evaluation.md says of its limits",
    )
    made.add_argument("--no-baseline", action="store_true", help="do not examine random weights beside the model's")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of random weights, and of few-shot samples")
    looking(made)
    weighted(made)

    made = command("compare", "which differences between examined models are more than noise")
    made.add_argument(
        "examined",
        nargs="+",
        metavar="A B …",
        help="runs that `wit eval` examined, or files of `wit eval --format json`",
    )
    made.add_argument("--format", choices=["table", "json"], default="table")

    made = command(
        "search", "the images of a dataset that are nearest to a text or an image, and whether it has an image"
    )
    made.add_argument("out", metavar="OUT")
    made.add_argument("query", metavar="TEXT", nargs="?", help='such as "two red circles"')
    made.add_argument("--image", metavar="FILE", help="instead of TEXT: an image; says whether it is in the data")
    made.add_argument("--count", type=int, default=24, metavar="N", help="how many images are found")
    made.add_argument(
        "--checkpoint",
        metavar="CHECKPOINT",
        help="what encodes, as for wit eval; by default what the dataset's embeddings were made by, or its only run",
    )
    made.add_argument("--exact", action="store_true", help="look at every image, also of a million and more")
    looking(made)
    made.add_argument("--show-unsafe", action="store_true", help="as for wit report")
    formatted(made, "html")

    made = command("why", "why a model fails at a set: from what its data holds of each class to its accuracy")
    made.add_argument("checkpoint", metavar="CHECKPOINT", help="as for wit eval")
    made.add_argument("--task", required=True, metavar="SET", help="an evaluation set with classes")
    made.add_argument("--dataset", required=True, metavar="OUT", help="what the model was trained on")
    made.add_argument("--most", type=int, default=2000, metavar="N", help="images of each of the set's splits at most")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn at random")
    looking(made)
    made.add_argument("--show-unsafe", action="store_true", help="as for wit report")
    made.add_argument("--format", choices=["table", "json", "html"], help="by default what FILE's name ends in")
    made.add_argument("--output", metavar="FILE", help="write there instead of printing")

    made = command("human", "have people take the zero-, one- and two-shot test, and compare them with a model")
    made.add_argument("dir", metavar="SET", help="an evaluation set with a class an image, as for wit eval")
    made.add_argument("--serve", action="store_true", help="ask people, by a page; without it, the report")
    made.add_argument("--answers", metavar="FILE", help="where answers are; human-SET.duckdb by default")
    made.add_argument("--questions", type=int, default=40, metavar="N", help="images that all are asked about; 40")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice of images")
    made.add_argument("--host", default="127.0.0.1", help="the address to listen at; this machine alone by default")
    made.add_argument("--port", type=int, default=8080, help="8080; 0 takes any")
    made.add_argument("--name", action="append", default=[], help="a name by which people reach it, as by a proxy's")
    made.add_argument("--model", metavar="RUN|FILE", help="of the report: what wit eval found of a model on this set")
    made.add_argument(
        "--interval",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="how many people give an accuracy ± SHARE; 0.05",
    )
    made.add_argument("--format", choices=["table", "json"], default="table")

    made = command("experiment", "is my data better: train on several datasets, alike and often enough, and compare")
    made.add_argument("config", metavar="CONFIG", help="a YAML file, such as configs/experiment_clipart.yaml")
    settable(made)
    made.add_argument("--format", choices=["table", "json"], default="table")

    made = command("export", "write a checkpoint as a model that open_clip loads")
    made.add_argument("run", metavar="RUN")
    made.add_argument("dir", metavar="DIR")
    made.add_argument("--onnx", action="store_true", help="write both towers as ONNX too, checked against the model")
    made.add_argument("--hub", action="store_true", help="make DIR ready for the Hugging Face Hub: with a model card")
    weighted(made)

    made = command("submit", "run a wit command as a Ray job: wit submit -- wit run CONFIG")
    made.add_argument("--address", help="the cluster's job server; http://127.0.0.1:8265 by default")
    made.add_argument("--working-dir", help="what is sent to the cluster; the repo by default")
    made.add_argument("words", nargs=argparse.REMAINDER, metavar="-- wit ...")
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
        found = int(text)
    except ValueError:
        found = 0
    if found < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1, not {text!r}")
    return found
