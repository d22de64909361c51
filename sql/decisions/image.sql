-- image: pairs whose image is too small or too long, or that a model speaks against.
-- rows: row, url. images: url, original_width, original_height (pixels).
-- measures: row, nsfw_probability, face_scores (of each box), clip_score, cell, target_images (images of the target set in
-- the image's cell); null where nobody measured it.
-- config: min_side, max_aspect, max_nsfw_probability, min_clip_score (null for none), drop_faces, min_face_score.
WITH measured AS (
    SELECT
        rows.row,
        images.original_width AS width,
        images.original_height AS height,
        least(width, height) AS shorter,
        greatest(width, height) AS longer,
        measures.nsfw_probability,
        list_max(measures.face_scores) AS face_score,
        measures.clip_score,
        measures.cell,
        measures.target_images,
        config.*
    FROM rows
    JOIN images ON images.url = rows.url
    LEFT JOIN measures ON measures.row = rows.row
    CROSS JOIN config
), judged AS (
    SELECT
        *,
        CASE
            -- An icon, a spacer or a tracking pixel.
            WHEN shorter < min_side THEN 'image_too_small'
            -- A banner or a rule.
            WHEN longer > max_aspect * shorter THEN 'image_aspect'
            WHEN nsfw_probability > max_nsfw_probability THEN 'nsfw_image'
            WHEN drop_faces AND face_score >= min_face_score THEN 'image_has_face'
            WHEN target_images = 0 THEN 'unlike_target_images'
            WHEN clip_score < min_clip_score THEN 'clip_score_low'
        END AS reason
    FROM measured
)
SELECT
    row,
    reason,
    CASE reason
        WHEN 'image_too_small' THEN json_object('width', width, 'height', height, 'min_side', min_side)
        WHEN 'image_aspect' THEN json_object('width', width, 'height', height, 'max_aspect', max_aspect)
        WHEN 'nsfw_image' THEN json_object(
            'nsfw_probability', nsfw_probability, 'max_nsfw_probability', max_nsfw_probability)
        WHEN 'image_has_face' THEN json_object('face_score', face_score, 'min_score', min_face_score)
        WHEN 'unlike_target_images' THEN json_object('cell', cell, 'target_images', target_images)
        WHEN 'clip_score_low' THEN json_object('clip_score', clip_score, 'min_clip_score', min_clip_score)
    END::VARCHAR AS evidence
FROM judged
WHERE reason IS NOT NULL
ORDER BY row
