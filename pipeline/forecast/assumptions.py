"""What a forecast assumes where nothing was measured: each with its value, its meaning, and a way to say otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from pipeline.config_errors import ConfigError


@dataclass(frozen=True)
class Instance:
    """A type of machine that may be rented. Prices of AWS, us-east-1, on demand, as its price list had them in 2025."""

    name: str
    vcpus: int
    gpus: int
    dollars_an_hour: float


INSTANCES = (
    Instance("c7i.4xlarge", 16, 0, 0.714),
    Instance("m7i.4xlarge", 16, 0, 0.8064),
    Instance("m7a.4xlarge", 16, 0, 0.9274),
    Instance("m7i.16xlarge", 64, 0, 3.2256),
    Instance("g6.12xlarge", 48, 4, 4.6016),
)


@dataclass(frozen=True)
class Assumptions:
    """Every one is overridden by `--assume NAME=VALUE`."""

    speed: float = 1.0
    """What a vCPU does, as a multiple of a CPU of the machine that measured."""
    utilisation: float = 0.8
    """The share of the time that a node's CPUs are at work; the rest is starting, waiting and the ends of phases."""
    spot_share: float = 0.4
    """A spot machine's price, as a share of that on demand."""
    lost_work: float = 0.05
    """The share of the work that is done twice, because spot machines are taken away."""
    gbit_per_node: float = 5.0
    """Network that a node has to fetch images with, in Gbit/s."""
    image_bytes: float = 150_000.0
    """Bytes that come over the network for an image, where the trial fetched none but took them from archives."""
    gpu_images_per_s: float = 1_500.0
    """Images that a GPU embeds in a second (ViT-B/32 at 224 pixels); counts where a model is configured for it."""
    pairs_per_partition: float = 10_000.0
    """Rows of a task; by default the config's `run.pairs_per_partition`."""
    piece_megabytes: float = 33.6
    """Megabytes of archive of an extract task; by default the config's `run.piece_bytes`."""
    dollars_put: float = 5e-6
    """A PUT, POST or LIST request of S3."""
    dollars_get: float = 4e-7
    """A GET or HEAD request of S3."""
    dollars_gb_month: float = 0.023
    """A gigabyte (10⁹ bytes) in S3 for a month."""
    months: float = 1.0
    """The months for which all that the build writes is kept."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 <= getattr(self, each.name) < float("inf"):
                raise ConfigError(f"--assume {each.name} must be 0 or more, not {getattr(self, each.name)}")
        for name in ("speed", "utilisation", "gbit_per_node", "gpu_images_per_s", "pairs_per_partition"):
            if not getattr(self, name):
                raise ConfigError(f"--assume {name} must be above 0")
        if not self.piece_megabytes:
            raise ConfigError("--assume piece_megabytes must be above 0")


def override_assumptions(base: Assumptions, overrides: Sequence[str]) -> Assumptions:
    """Return the assumptions with `NAME=VALUE` laid over them. Raises ConfigError."""
    known = {each.name for each in fields(Assumptions)}
    values = {}
    for item in overrides:
        name, _, text = item.partition("=")
        if name not in known:
            raise ConfigError(f"--assume knows no {name!r}; there are {', '.join(sorted(known))}")
        try:
            values[name] = float(text)
        except ValueError:
            raise ConfigError(f"--assume {name} takes a number, not {text!r}") from None
    return replace(base, **values)
