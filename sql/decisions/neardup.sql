-- neardup: pairs whose image is the same as, or looks like, another one that stays.
-- rows: row, url. images: row, url. config: hash, max_hamming, against.
-- clusters: locator (of an image: partition << 32 | its row in images), representative (the locator of the image that
-- stands for it; its own if it stays), representative_url_id, representative_dataset (place in config.against, null if
-- it is this one), hamming, identical (bytes, pixels or null); of this partition.
SELECT
    rows.row,
    CASE WHEN clusters.identical IS NULL THEN 'near_duplicate_image' ELSE 'duplicate_image' END AS reason,
    -- A merge leaves out what is null.
    json_merge_patch('{}', json_object(
        'duplicate_of_dataset', config.against[clusters.representative_dataset + 1],
        'duplicate_of_url_id', lower(hex(clusters.representative_url_id)),
        'identical', clusters.identical,
        config.hash || '_hamming', clusters.hamming,
        'max_hamming', config.max_hamming
    ))::VARCHAR AS evidence
FROM rows
JOIN images ON images.url = rows.url
JOIN clusters ON clusters.locator & 4294967295 = images.row
CROSS JOIN config
WHERE clusters.representative <> clusters.locator
ORDER BY rows.row
