-- The splits of the dataset: shards, pairs, distinct images, texts and hosts, and bytes; images and texts must not be shared.
-- column split: train, or heldout: never trained on.
-- column shards: How many shards.
-- column pairs: How many pairs of the dataset.
-- column images: How many images, by their addresses.
-- column texts: How many distinct texts.
-- column hosts: How many hosts of images.
-- column bytes: Bytes of the shards that their samples take.
-- column pairs_with_image_in_another_split: Pairs whose image another split has too; none in a sound dataset.
-- column pairs_with_text_in_another_split: Pairs whose text another split has too; none in a sound dataset.
SELECT split, count(DISTINCT shard) AS shards, count(*) AS pairs, count(DISTINCT sha256) AS images,
       count(DISTINCT text) AS texts,
       count(DISTINCT host) AS hosts,
       sum(size)::BIGINT AS bytes,
       count(*) FILTER (WHERE sha256 IN (SELECT sha256 FROM pairs other WHERE other.split <> pairs.split))
           AS pairs_with_image_in_another_split,
       count(*) FILTER (WHERE lower(text) IN (SELECT lower(text) FROM pairs other WHERE other.split <> pairs.split))
           AS pairs_with_text_in_another_split
FROM pairs
GROUP BY split
ORDER BY split DESC
