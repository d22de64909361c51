-- What becomes of each entry of a source of queries, by `fate`: added, overlap, over_cap, below_threshold, unusable.
-- Tables: entries (query, key, score, count, usable, below), taken (key) by earlier sources, config (most).
WITH judged AS (
    SELECT query, key, score, "count", CASE
            WHEN NOT usable THEN 'unusable'
            WHEN below THEN 'below_threshold'
            WHEN key IN (SELECT key FROM taken) THEN 'overlap'
            WHEN row_number() OVER (PARTITION BY key, usable, below ORDER BY score DESC NULLS LAST, query) > 1
                THEN 'overlap'
            ELSE 'new'
        END AS fate
    FROM entries
)
SELECT query, key, score, "count", CASE
        WHEN fate != 'new' THEN fate
        WHEN row_number() OVER (PARTITION BY fate ORDER BY score DESC NULLS LAST, query) <= most THEN 'added'
        ELSE 'over_cap'
    END AS fate
FROM judged, config ORDER BY score DESC NULLS LAST, query
