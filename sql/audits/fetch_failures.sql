-- Images that could not be had, by cause and HTTP status: how many, from how many hosts, and the host with most of them.
-- column outcome: What became of it: kept, or the stage and reason that dropped it.
-- column status: HTTP status of the last response; null if there was none.
-- column images: How many images, by their addresses.
-- column hosts: How many hosts of images.
-- column most_from: The host with most of them.
-- column images_from_it: How many are from that host.
-- column meaning: What the reason means.
WITH failed AS (
    SELECT outcome, status, host, count(*) AS images
    FROM images WHERE outcome <> 'ok' GROUP BY ALL
)
SELECT outcome, status, sum(images)::BIGINT AS images, count(*) AS hosts, arg_min(host, (-images, host)) AS most_from,
       max(images) AS images_from_it, any_value(meaning) AS meaning
FROM failed LEFT JOIN reasons ON reasons.reason = failed.outcome
GROUP BY outcome, status ORDER BY images DESC, outcome, status
