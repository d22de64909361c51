-- The samples with a key, by their shard.
-- $key: the sample's; $shard: a shard's name, with or without .tar; '' for any
SELECT pair_id, shard, archive, archive_offset FROM _samples
WHERE key = $key AND $shard IN ('', shard, replace(shard, '.tar', '')) ORDER BY shard
