-- What became of fetches by the year in which the page was captured: older links are dead more often.
-- column captured: The year in which the page was captured; empty if nobody says.
-- column images: How many images, by their addresses; one on pages of two years counts in both.
-- column got: Images that came.
-- column dead: Images that are not there any more: refused by the server, or no server.
SELECT captured, count(*) AS images, count(*) FILTER (WHERE outcome = 'ok') AS got,
       count(*) FILTER (WHERE outcome IN ('http_client_error', 'dns_failed', 'connection_failed')) AS dead
FROM (
    SELECT DISTINCT coalesce(left(p.page_date, 4), '') AS captured, i.partition, i.row, i.outcome
    FROM _images i JOIN _pairs p ON p.partition = i.partition AND p.url = i.url
) GROUP BY captured ORDER BY captured
