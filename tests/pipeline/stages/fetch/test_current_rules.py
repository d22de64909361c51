"""What the store took under an older config is judged by the config of now."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from dataset.schema import OBSERVATIONS
from filters.images.hashlists import HashLists, HashListsConfig
from pipeline.stages.fetch.current_rules import refuse_listed, with_masks


def known(*rows: dict[str, Any]) -> pa.Table:
    whole = {
        "origin": "http",
        "outcome": "ok",
        "sha256": bytes(32),
        "md5": bytes(16),
        "pdq": bytes(32),
        "pdq_quality": 0,
    }
    named = [
        {**whole, "url": f"http://a.test/{n}", "final_url": f"http://a.test/{n}", **row} for n, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(named, schema=OBSERVATIONS)


def test_what_prohibits_data_mining_is_refused_as_soon_as_the_config_heeds_it() -> None:
    lists = HashLists.load(HashListsConfig())
    said = [None, "DMI-ALLOWED", "DMI-PROHIBITED", "allowed cawg.data_mining", "constrained cawg.ai_training"]
    table = known(*({"data_mining": value} for value in said))
    found = refuse_listed(table, lists, frozenset(), respects_data_mining=True).sort_by("url")
    refused = ["ok", "ok", "data_mining_prohibited", "ok", "c2pa_training_refused"]
    assert found["outcome"].to_pylist() == refused
    assert found["wish_value"].to_pylist() == [None, None, "DMI-PROHIBITED", None, "constrained cawg.ai_training"]
    assert found["pdq"].to_pylist().count(None) == 2
    assert set(refuse_listed(table, lists, frozenset(), respects_data_mining=False)["outcome"].to_pylist()) == {"ok"}


def test_masks_that_the_config_asks_for_later_are_there() -> None:
    table = known({"creator": "me@example.org", "credit": None})
    assert with_masks(table, ("email_address",))["creator"].to_pylist() == ["[email_address]"]
    assert with_masks(table, ()) == table
