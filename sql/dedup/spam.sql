-- Texts that stand on more distinct image addresses than the config allows; and, in a row without a text, how many distinct
-- (image address, text) there are in all.
-- keys: text_key, url_key, of whole texts (all keys of a text are here).
WITH counted AS (
    SELECT text_key, count(DISTINCT url_key) AS images FROM keys GROUP BY text_key
)
SELECT text_key, images FROM counted WHERE images > (SELECT max_images_per_text FROM config)
UNION ALL
SELECT NULL, coalesce(sum(images), 0)::BIGINT FROM counted
ORDER BY text_key
