-- The shards: how many samples and bytes each has.
SELECT shard, any_value(split) AS split, count(*) AS samples, sum(size)::BIGINT AS bytes FROM pairs GROUP BY shard ORDER BY shard
