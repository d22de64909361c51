"""What one host's images may cost together: after three that took too long, those that follow are not tried."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from crawl.units import SLOW_OF_A_HOST
from dataset.hosts import hostname
from pipeline.workers.failures import TIME, Lost


def with_slow_hosts(urls: Sequence[str], without: Mapping[int, Lost]) -> dict[int, Lost]:
    """Return the units that are left out, with those that stand behind a host's third that took too long.

    Which these are depends on the units alone, not on the order in which they were found: whatever stands before the
    third has been tried.

    Args:
        urls: of all units, in their order.
        without: those that were left out, and why.
    """
    slow: defaultdict[str, list[int]] = defaultdict(list)
    for unit, lost in sorted(without.items()):
        if lost.reason == TIME:
            slow[hostname(urls[unit])].append(unit)
    last = {host: units[SLOW_OF_A_HOST - 1] for host, units in slow.items() if len(units) >= SLOW_OF_A_HOST}
    left_out = dict(without)
    for unit, url in enumerate(urls) if last else ():
        host = hostname(url)
        if unit > last.get(host, len(urls)):
            place = f"{host}, of which {SLOW_OF_A_HOST} images took too long"
            left_out[unit] = Lost(unit, TIME, place=place, limit=without[last[host]].limit)
    return left_out
