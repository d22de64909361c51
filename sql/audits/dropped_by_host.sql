-- Which hosts lose most rows, to all reasons or to one, and what share of theirs that is.
-- $reason = all: one of the view reasons
-- $most = 50: how many hosts
-- column host: The host of the image's address.
-- column candidates: How many candidates.
-- column dropped: How many rows were dropped.
-- column share: Their share of the host's candidates.
WITH hosts AS (
    SELECT host, count(*) AS candidates FROM candidates GROUP BY host
), lost AS (
    SELECT host, count(*) AS dropped FROM dropped WHERE $reason IN ('all', reason) GROUP BY host
)
SELECT host, candidates, dropped, round(dropped / candidates, 4) AS share
FROM hosts JOIN lost USING (host) ORDER BY dropped DESC, host LIMIT $most
