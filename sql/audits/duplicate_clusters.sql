-- Duplicate images by the size of their cluster: the one that stays and all that were dropped for it.
-- column images_of_cluster: Images of a cluster, the one that stays among them.
-- column clusters: How many clusters have so many.
-- column pairs_dropped: Pairs that were dropped of them.
-- column example_url_id: The url_id of the image that stays, of one of them.
WITH clusters AS (
    SELECT evidence ->> '$.duplicate_of_url_id' AS cluster, 1 + count(DISTINCT url) AS images, count(*) AS pairs, min(reason) AS reason
    FROM dropped WHERE stage = 'neardup' GROUP BY cluster
)
SELECT images AS images_of_cluster, count(*) AS clusters, sum(pairs)::BIGINT AS pairs_dropped,
       min(cluster) AS example_url_id
FROM clusters GROUP BY images ORDER BY images
