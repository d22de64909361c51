"""What stands behind a host's third slow image is not tried, whatever the order in which these were found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.fetch.slow_hosts import with_slow_hosts
from pipeline.workers.failures import CRASHED, TIME, Lost


def _lost(unit: int, reason: str = TIME) -> Lost:
    return Lost(unit, reason, place=f"unit {unit}", used=10.2, limit=10.0)


def test_a_host_whose_images_took_too_long_costs_no_more() -> None:
    urls = [f"http://{host}.example/{number}.jpg" for number in range(6) for host in ("slow", "good")]
    two = {unit: _lost(unit) for unit in (0, 2)}
    assert with_slow_hosts(urls, two) == two
    three = with_slow_hosts(urls, two | {6: _lost(6)})
    assert sorted(three) == [0, 2, 6, 8, 10]
    assert three[8].reason == TIME
    said = {"cpu_s": 0.0, "limit_s": 10.0, "place": "slow.example, of which 3 images took too long"}
    assert three[8].evidence == said
    crashed = {unit: _lost(unit, CRASHED) for unit in (0, 2, 4, 6)}
    assert with_slow_hosts(urls, crashed) == crashed


@given(st.data())
def test_the_order_in_which_slow_images_are_found_changes_nothing(data: st.DataObject) -> None:
    hosts = data.draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=25))
    urls = [f"http://{host}.example/{number}" for number, host in enumerate(hosts)]
    slow = data.draw(st.sets(st.sampled_from(range(len(urls)))))

    def left_out(order: list[int]) -> list[int]:
        found: dict[int, Lost] = {}
        while tried := [unit for unit in order if unit in slow and unit not in with_slow_hosts(urls, found)]:
            found[tried[0]] = _lost(tried[0])
        return sorted(with_slow_hosts(urls, found))

    assert left_out(list(range(len(urls)))) == left_out(data.draw(st.permutations(range(len(urls)))))
