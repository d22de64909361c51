-- Repeated (URL, text), and the texts of a URL that were not chosen.
-- keys: url_key, text_key, characters, locator, of whole URLs (all keys of a URL are here).
-- The first of several rows is that of the least locator, which is the least (archive, offset, ordinal).
WITH ranked AS (
    SELECT
        *,
        min(locator) OVER (PARTITION BY url_key, text_key) AS first_of_pair,
        first_value(locator) OVER (
            PARTITION BY url_key
            ORDER BY CASE config.texts_per_url WHEN 'longest' THEN -characters ELSE 0 END, locator
        ) AS chosen_of_url
    FROM keys
    CROSS JOIN config
)
SELECT
    locator,
    -- The same URL with the same text stands in an earlier row,
    CASE WHEN locator > first_of_pair THEN 'duplicate_pair'
    -- or another text of the URL was chosen.
    ELSE 'url_has_other_text' END AS reason,
    CASE WHEN locator > first_of_pair
        THEN json_object('first_partition', first_of_pair >> 32, 'first_row', first_of_pair & 4294967295)
        ELSE json_object(
            'texts_per_url', texts_per_url,
            'chosen_partition', chosen_of_url >> 32,
            'chosen_row', chosen_of_url & 4294967295
        )
    END::VARCHAR AS evidence
FROM ranked
WHERE locator > first_of_pair
   OR (texts_per_url <> 'all' AND locator <> chosen_of_url)
ORDER BY locator
