-- Some pairs of the dataset, chosen by a hash, with where their bytes lie.
-- $most: how many
SELECT pair_id, text, url, page_url, shard, key, "offset", size, checksum, width, height, split
FROM pairs ORDER BY md5(pair_id), pair_id LIMIT $most
