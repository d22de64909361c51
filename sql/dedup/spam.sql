-- Texts that stand on more distinct image addresses than the config allows.
-- keys: text_key, url_key, of whole texts (all keys of a text are here).
SELECT text_key, count(DISTINCT url_key) AS images
FROM keys
GROUP BY text_key
HAVING images > (SELECT max_images_per_text FROM config)
ORDER BY text_key
