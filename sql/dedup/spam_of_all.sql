-- Of these texts, those that stand on more than the share of the dataset that the config allows.
-- spam: text_key, images, of all parts; a row without text_key counts a part's distinct (image address, text).
WITH total AS (
    SELECT coalesce(sum(images), 0)::BIGINT AS of_all FROM spam WHERE text_key IS NULL
)
SELECT text_key, images, of_all
FROM spam CROSS JOIN total CROSS JOIN config
WHERE text_key IS NOT NULL AND images > max_share_per_text * of_all
ORDER BY text_key
