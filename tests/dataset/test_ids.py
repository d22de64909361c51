from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dataset.ids import PAIR_ID_SQL, pair_id, pair_ids
from dataset.query import sql

texts = st.text(st.characters(codec="utf-8"), max_size=200)


@given(st.lists(st.tuples(texts, texts), max_size=6))
def test_a_columns_ids_are_those_of_its_rows_in_python_and_in_sql(pairs: list[tuple[str, str]]) -> None:
    rows = pa.table({"url": [url for url, _ in pairs], "text": [text for _, text in pairs]}).cast(
        pa.schema([("url", pa.string()), ("text", pa.string())])
    )
    ids = pair_ids(rows["url"], rows["text"])
    assert ids.type == pa.binary(16)
    assert ids.to_pylist() == [pair_id(url, text) for url, text in pairs]
    written = sql.run(f"SELECT {PAIR_ID_SQL} AS pair_id FROM rows", {"rows": rows})
    assert ids.to_pylist() == written["pair_id"].to_pylist()


def test_ids_of_many_rows_and_of_a_part_of_a_column() -> None:
    urls = pa.array([f"http://a.example/{number}.jpg" for number in range(5_000)])  # more than one of DuckDB's vectors
    texts = pa.chunked_array([["a kettle"] * 3_000, ["größer"] * 2_000])
    ids = pair_ids(urls, texts)
    assert ids.to_pylist() == [pair_id(*pair) for pair in zip(urls.to_pylist(), texts.to_pylist(), strict=True)]
    assert pair_ids(urls.slice(2_999, 2), texts.slice(2_999, 2)).equals(ids.slice(2_999, 2))
