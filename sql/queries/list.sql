-- The query list: each query that a source added, with all sources that know it, and their scores.
-- Tables: claimed (query, key, score, count, fate, place, source), `place` being the source's in the config.
WITH given AS (
    SELECT key, place, source, max(score) AS score, max("count") AS "count"
    FROM claimed WHERE fate IN ('added', 'overlap', 'over_cap') GROUP BY ALL
), by_key AS (
    SELECT key, max("count") AS "count", list(source ORDER BY place) AS sources, list(score ORDER BY place) AS scores
    FROM given GROUP BY key
)
SELECT row_number() OVER (ORDER BY place, score DESC NULLS LAST, query) - 1 AS query_id,
    query, source, score AS source_score, by_key."count", sources, scores
FROM claimed JOIN by_key USING (key) WHERE fate = 'added' ORDER BY query_id
