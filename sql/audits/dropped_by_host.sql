-- Which hosts a reason drops most rows of, and how many of theirs it leaves.
-- $reason = query_full: as in the view reasons
-- $most = 50: how many hosts
-- column host: The host of the image's address.
-- column candidates: How many candidates.
-- column dropped: How many rows were dropped.
-- column share: Their share of all.
WITH hosts AS (
    SELECT c.host, count(*) AS candidates, count(*) FILTER (WHERE d.reason = $reason) AS dropped
    FROM candidates c LEFT JOIN dropped d USING (archive, "offset", ordinal) GROUP BY c.host
)
SELECT host, candidates, dropped, round(dropped / candidates, 4) AS share
FROM hosts WHERE dropped > 0 ORDER BY dropped DESC, host LIMIT $most
