-- neardup: pairs whose image is the same as, or looks like, another one that stays.
-- rows: row, url. images: row, url. config: max_hamming.
-- clusters: locator (of an image: partition << 32 | its row in images), representative (the locator of the image that
-- stands for it; its own if it stays), representative_url_id, pdq_hamming, identical (same bytes); of this partition.
SELECT
    rows.row,
    CASE WHEN clusters.identical THEN 'duplicate_image' ELSE 'near_duplicate_image' END AS reason,
    json_object(
        'duplicate_of_url_id', lower(hex(clusters.representative_url_id)),
        'pdq_hamming', clusters.pdq_hamming,
        'max_hamming', config.max_hamming
    )::VARCHAR AS evidence
FROM rows
JOIN images ON images.url = rows.url
JOIN clusters ON clusters.locator & 4294967295 = images.row
CROSS JOIN config
WHERE clusters.representative <> clusters.locator
ORDER BY rows.row
