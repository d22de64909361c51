-- The hundred image hosts with the most candidates: how many became pairs of the dataset, how many were dropped.
-- column host: The host of the image's address.
-- column candidates: How many candidates.
-- column kept: How many of them are in the dataset.
-- column not_kept: How many of them are not.
-- column percent_kept: Their share that is in the dataset, in percent.
WITH found AS (
    SELECT host, count(*) AS candidates FROM candidates GROUP BY host
), kept AS (
    SELECT host, count(*) AS kept FROM pairs GROUP BY host
)
SELECT host, candidates, coalesce(kept, 0) AS kept, candidates - coalesce(kept, 0) AS not_kept,
       round(100.0 * coalesce(kept, 0) / candidates, 1) AS percent_kept
FROM found LEFT JOIN kept USING (host)
ORDER BY candidates DESC, host
LIMIT 100
