-- Where the texts come from (alt, title, caption, …): candidates found, pairs kept.
WITH kept AS (SELECT text_source, count(*) AS kept FROM pairs GROUP BY text_source)
SELECT text_source, count(*) AS candidates, coalesce(any_value(kept), 0) AS kept,
       round(100.0 * coalesce(any_value(kept), 0) / count(*), 1) AS percent_kept
FROM candidates LEFT JOIN kept USING (text_source)
GROUP BY text_source
ORDER BY candidates DESC, text_source
