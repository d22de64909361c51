-- The shards: how many samples and bytes each has.
-- column shard: The tar below shards/ that holds the sample.
-- column split: train, or heldout: never trained on.
-- column samples: How many samples.
-- column bytes: Bytes of the shards that their samples take.
SELECT shard, any_value(split) AS split, count(*) AS samples, sum(size)::BIGINT AS bytes FROM pairs GROUP BY shard ORDER BY shard
