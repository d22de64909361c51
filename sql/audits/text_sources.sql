-- Where the texts come from (alt, title, caption, …): candidates found, pairs kept.
-- column text_source: Where the text stood.
-- column candidates: How many candidates.
-- column kept: How many of them are in the dataset.
-- column percent_kept: Their share that is in the dataset, in percent.
WITH kept AS (SELECT text_source, count(*) AS kept FROM pairs GROUP BY text_source)
SELECT text_source, count(*) AS candidates, coalesce(any_value(kept), 0) AS kept,
       round(100.0 * coalesce(any_value(kept), 0) / count(*), 1) AS percent_kept
FROM candidates LEFT JOIN kept USING (text_source)
GROUP BY text_source
ORDER BY candidates DESC, text_source
