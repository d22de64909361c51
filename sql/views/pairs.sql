-- The dataset: every sample, with where it lies in the shards and where it came from.
SELECT lower(hex(pair_id)) AS pair_id, url, rtrim(regexp_extract(url, '^https?://(\[[^\]]*\]|[^/:]+)', 1), '.') AS host, text,
       text_source, page_url, archive, archive_offset, shard, key, split,
       "offset", size, checksum, width, height, lower(hex(sha256)) AS sha256, query_ids
FROM _samples
