-- image: pairs whose image is too small or too long.
-- rows: row, url. images: url, original_width, original_height (pixels). config: min_side, max_aspect.
WITH sized AS (
    SELECT
        rows.row,
        images.original_width AS width,
        images.original_height AS height,
        least(width, height) AS shorter,
        greatest(width, height) AS longer,
        config.min_side,
        config.max_aspect
    FROM rows
    JOIN images ON images.url = rows.url
    CROSS JOIN config
)
SELECT
    row,
    -- An icon, a spacer or a tracking pixel.
    CASE WHEN shorter < min_side THEN 'image_too_small'
    -- A banner or a rule.
    ELSE 'image_aspect' END AS reason,
    CASE WHEN shorter < min_side
        THEN json_object('width', width, 'height', height, 'min_side', min_side)
        ELSE json_object('width', width, 'height', height, 'max_aspect', max_aspect)
    END::VARCHAR AS evidence
FROM sized
WHERE shorter < min_side OR longer > max_aspect * shorter
ORDER BY row
