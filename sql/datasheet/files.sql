-- The source files, with the dates of the first and the last page that a candidate is from.
-- $most: how many
WITH dates AS (SELECT archive, min(page_date) AS first, max(page_date) AS last FROM candidates GROUP BY archive)
SELECT file, type, records, pages, candidates, first AS pages_from, last AS pages_to
FROM sources LEFT JOIN dates ON archive = file ORDER BY file LIMIT $most
