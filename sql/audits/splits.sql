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
WITH hashed AS (
    -- hashes of 64 bits stand for images and texts, which need a tenth of the room
    SELECT split, hash(split) AS side, shard, size, hash(host) AS host, hash(sha256) AS image, hash(text) AS text,
           hash(lower(text)) AS folded
    FROM pairs
), shared_images AS (
    SELECT image FROM hashed GROUP BY image HAVING min(side) <> max(side)
), shared_texts AS (
    SELECT folded FROM hashed GROUP BY folded HAVING min(side) <> max(side)
)
SELECT split, count(DISTINCT shard) AS shards, count(*) AS pairs, count(DISTINCT image) AS images,
       count(DISTINCT text) AS texts, count(DISTINCT host) AS hosts, sum(size)::BIGINT AS bytes,
       count(*) FILTER (WHERE image IN (SELECT image FROM shared_images)) AS pairs_with_image_in_another_split,
       count(*) FILTER (WHERE folded IN (SELECT folded FROM shared_texts)) AS pairs_with_text_in_another_split
FROM hashed
GROUP BY split
ORDER BY split DESC
