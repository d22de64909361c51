"""The plain way to balance, in DuckDB: rank the matches of every query by hash. FOLDER CAP CORES."""

import json
import resource
import sys
import time

import duckdb

SQL = """
WITH matches AS (SELECT hash, unnest(query_ids) AS query_id FROM read_parquet('{folder}/*.parquet')),
ranked AS (SELECT hash, row_number() OVER (PARTITION BY query_id ORDER BY hash) AS rank FROM matches),
kept AS (SELECT DISTINCT hash FROM ranked WHERE rank <= {cap})
SELECT count(*), bit_xor(hash) FROM kept
"""


def main() -> None:
    folder, cap, cores = sys.argv[1:]
    began = time.perf_counter()
    settings = {"threads": int(cores), "temp_directory": f"{folder}/spilled"}
    kept = xor = failed = None
    with duckdb.connect(config=settings) as connection:
        try:
            ((kept, xor),) = connection.sql(SQL.format(folder=folder, cap=int(cap))).fetchall()
        except duckdb.Error as error:  # out of memory: a window is not spilled
            failed = str(error).partition("\n")[0]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "kept": kept,
        "xor": xor,
        "failed": failed,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "gigabytes": usage.ru_maxrss / 1e6,
    }
    print(json.dumps(figures))


main()
