-- Languages that the pages declare for themselves: candidates found, pairs kept.
WITH declared AS (
    SELECT c.pair_id, coalesce(nullif(lower(regexp_extract(c.page_language, '^\s*([A-Za-z]+)', 1)), ''), '(none)') AS language
    FROM candidates c
), kept AS (
    SELECT DISTINCT pair_id FROM pairs
)
SELECT language, count(*) AS candidates, count(DISTINCT kept.pair_id) AS kept
FROM declared LEFT JOIN kept USING (pair_id)
GROUP BY language
ORDER BY candidates DESC, language
