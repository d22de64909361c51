-- The rows left for the search for duplicates: those whose text is no spam.
-- rows: locator, url, text. spam: text_key.
WITH keyed AS (
    SELECT unhex(md5(url)) AS url_key, unhex(md5(text)) AS text_key, length(text)::INTEGER AS characters, locator
    FROM rows
)
SELECT *
FROM keyed
WHERE text_key NOT IN (SELECT text_key FROM spam)
ORDER BY url_key, text_key, locator
