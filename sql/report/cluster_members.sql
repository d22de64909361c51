-- The largest groups of near-duplicates: the image that was kept of each, and some that went for it.
-- $clusters: how many groups; $members: how many images of each that went
WITH found AS (
    SELECT DISTINCT evidence->>'duplicate_of_url_id' AS cluster, url, reason FROM dropped WHERE stage = 'neardup'
), largest AS (
    SELECT cluster, count(*) AS members FROM found
    WHERE cluster IN (SELECT cluster FROM found WHERE reason = 'near_duplicate_image')
    GROUP BY cluster ORDER BY members DESC, cluster LIMIT $clusters
), shown AS (
    SELECT cluster, members, 0 AS rank, i.url, 'kept' AS reason, i.blob, i.blob_offset, i.blob_length, i.blob_checksum
    FROM largest JOIN images i ON i.url_id = cluster
    UNION ALL
    SELECT cluster, members, row_number() OVER (PARTITION BY cluster ORDER BY found.reason DESC, found.url), found.url,
           found.reason, i.blob, i.blob_offset, i.blob_length, i.blob_checksum
    FROM largest JOIN found USING (cluster) JOIN images i ON i.url = found.url
)
SELECT * FROM shown WHERE rank <= $members AND blob IS NOT NULL ORDER BY members DESC, cluster, rank
