-- What became of fetches by the year in which the page was captured: older links are dead more often.
-- column captured: The year in which the page was captured; empty if nobody says.
-- column images: How many images, by their addresses.
-- column got: Images that came.
-- column dead: Images that are not there any more: refused by the server, or no server.
SELECT coalesce(left(c.page_date, 4), '') AS captured, count(DISTINCT i.url) AS images,
       count(DISTINCT i.url) FILTER (WHERE i.outcome = 'ok') AS got,
       count(DISTINCT i.url) FILTER (WHERE i.outcome IN ('http_client_error', 'dns_failed', 'connection_failed')) AS dead
FROM images i JOIN candidates c ON c.url = i.url GROUP BY ALL ORDER BY captured
