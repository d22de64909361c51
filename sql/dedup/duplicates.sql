-- Repeated (URL, text), and the texts of a URL that were not chosen.
-- keys: url_key, text_key, characters, locator, dataset, of whole URLs (all keys of a URL are here). dataset is null for
-- this run's rows; else the row is a pair that a dataset of config.against kept, and comes before this run's.
-- The first of several rows is that of the least locator, which is the least (archive, offset, ordinal).
WITH ranked AS (
    SELECT
        *,
        {'dataset': dataset, 'locator': locator} AS own,
        first_value(own) OVER (PARTITION BY url_key, text_key ORDER BY dataset NULLS LAST, locator) AS first_of_pair,
        first_value(own) OVER (
            PARTITION BY url_key
            ORDER BY dataset NULLS LAST, CASE texts_per_url WHEN 'longest' THEN -characters ELSE 0 END, locator
        ) AS chosen_of_url
    FROM keys
    CROSS JOIN config
),
judged AS (
    SELECT
        locator,
        texts_per_url,
        against,
        -- The same URL with the same text stands in an earlier row,
        first_of_pair IS DISTINCT FROM own AS is_repeated,
        -- or another text of the URL was chosen.
        texts_per_url <> 'all' AND chosen_of_url IS DISTINCT FROM own AS is_other_text,
        CASE WHEN is_repeated THEN first_of_pair ELSE chosen_of_url END AS instead
    FROM ranked
    WHERE dataset IS NULL
)
SELECT
    locator,
    CASE WHEN is_repeated THEN 'duplicate_pair' ELSE 'url_has_other_text' END AS reason,
    -- A merge leaves out what is null: the dataset, if it is this one.
    CASE WHEN is_repeated
        THEN json_merge_patch('{}', json_object(
            'first_dataset', against[instead.dataset + 1],
            'first_partition', instead.locator >> 32,
            'first_row', instead.locator & 4294967295
        ))
        ELSE json_merge_patch('{}', json_object(
            'texts_per_url', texts_per_url,
            'chosen_dataset', against[instead.dataset + 1],
            'chosen_partition', instead.locator >> 32,
            'chosen_row', instead.locator & 4294967295
        ))
    END::VARCHAR AS evidence
FROM judged
WHERE is_repeated OR is_other_text
ORDER BY locator
