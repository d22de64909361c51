-- dedup, first part: rows whose text is spam.
-- rows: row, text. spam: text_key, images, of_all (images with their texts). config: max_images_per_text, max_share_per_text.
SELECT
    rows.row,
    'text_spam' AS reason,
    json_object(
        'images', spam.images, 'max_images_per_text', config.max_images_per_text,
        'of_all', spam.of_all, 'max_share_per_text', config.max_share_per_text
    )::VARCHAR AS evidence
FROM rows
JOIN spam ON spam.text_key = unhex(md5(rows.text))
CROSS JOIN config
ORDER BY rows.row
