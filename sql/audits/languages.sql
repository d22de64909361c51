-- Languages that the pages declare for themselves: candidates found, pairs kept.
-- column language: The language.
-- column candidates: How many candidates.
-- column kept: How many of them are in the dataset.
WITH declared AS (
    SELECT c.pair_id, c.archive, c."offset",
           coalesce(nullif(lower(regexp_extract(c.page_language, '^\s*([A-Za-z]+)', 1)), ''), '(none)') AS language
    FROM candidates c
), kept AS (
    SELECT pair_id, archive, archive_offset AS "offset" FROM pairs
)
SELECT language, count(*) AS candidates, count(DISTINCT pair_id) FILTER (WHERE kept.archive IS NOT NULL) AS kept
FROM declared LEFT JOIN kept USING (pair_id, archive, "offset")
GROUP BY language
ORDER BY candidates DESC, language
