-- The hosts that most pairs are from, with their share of the pairs and of the bytes of the shards.
-- $most = 50: how many hosts
-- column host: The host of the image's address.
-- column pairs: How many pairs of the dataset.
-- column share_of_pairs: Their share of all pairs.
-- column bytes: Bytes of the shards that their samples take.
-- column share_of_bytes: Their share of all these bytes.
WITH hosts AS (
    SELECT host, count(*) AS pairs, sum(size)::BIGINT AS bytes
    FROM pairs GROUP BY ALL
)
SELECT host, pairs, round(pairs / sum(pairs) OVER (), 4) AS share_of_pairs,
       bytes, round(bytes / sum(bytes) OVER (), 4) AS share_of_bytes
FROM hosts ORDER BY pairs DESC, host LIMIT $most
