-- How much the dataset has: one row of counts.
SELECT (SELECT count(*) FROM candidates) AS candidates, (SELECT count(*) FROM sources) AS sources,
       count(*) AS pairs, count(DISTINCT sha256) AS images, count(DISTINCT text) AS texts,
       count(DISTINCT host) AS hosts,
       count(DISTINCT shard) AS shards,
       count(*) FILTER (WHERE split = 'heldout') AS heldout, coalesce(sum(size), 0)::BIGINT AS bytes
FROM pairs
