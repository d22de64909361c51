-- The pairs, images, texts, shards and bytes of each split.
SELECT split, count(*) AS pairs, count(DISTINCT sha256) AS images, count(DISTINCT text) AS texts,
       count(DISTINCT shard) AS shards, sum(size)::BIGINT AS bytes
FROM pairs GROUP BY split ORDER BY split DESC
