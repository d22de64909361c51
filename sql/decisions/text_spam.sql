-- dedup, first part: rows whose text is spam.
-- rows: row, text. spam: text_key, images. config: max_images_per_text.
SELECT
    rows.row,
    'text_spam' AS reason,
    json_object('images', spam.images, 'max_images_per_text', config.max_images_per_text)::VARCHAR AS evidence
FROM rows
JOIN spam ON spam.text_key = unhex(md5(rows.text))
CROSS JOIN config
ORDER BY rows.row
