-- Of these texts, those that may stand on more than the share of the dataset that the config allows: the dataset has at least what
-- these parts have. And, in a row without a text, what they have in all.
-- spam: text_key, images, of some parts; a row without text_key counts a part's distinct (image address, text).
WITH total AS (
    SELECT coalesce(sum(images), 0)::BIGINT AS known FROM spam WHERE text_key IS NULL
)
SELECT text_key, images
FROM spam CROSS JOIN total CROSS JOIN config
WHERE text_key IS NOT NULL AND images > max_share_per_text * known
UNION ALL
SELECT NULL, known FROM total
ORDER BY text_key
