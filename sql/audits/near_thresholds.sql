-- For every threshold of a score: rows that it only just dropped, and pairs that it only just let pass.
-- $within = 0.05: how near, as a share of the threshold; of what is counted, one at least
-- column threshold_name: The config's key.
-- column threshold: Its value.
-- column just_missed: Rows on its wrong side, and near it.
-- column just_passed: Rows on its right side, and near it.
-- column nearest_missed: The pair_id of the nearest on the wrong side.
-- column nearest_passed: The pair_id of the nearest on the right side.
WITH limits AS (
    SELECT split_part(key, '.', 2) AS name, TRY_CAST(value AS DOUBLE) AS threshold, starts_with(split_part(key, '.', 2), 'min_') AS is_least
    FROM settings
    WHERE key IN ('text.min_characters', 'text.max_characters', 'text.max_profanity_probability', 'image.min_side', 'image.max_aspect',
                  'image.max_nsfw_probability', 'image.min_clip_score') AND threshold > 0
), measured AS (
    SELECT pair_id, unnest([
        {'name': 'min_characters', 'value': length(text)::DOUBLE}, {'name': 'max_characters', 'value': length(text)::DOUBLE}
    ]) AS item FROM candidates
    UNION ALL
    SELECT pair_id, unnest([
        {'name': 'max_profanity_probability', 'value': profanity_probability::DOUBLE},
        {'name': 'max_nsfw_probability', 'value': nsfw_probability::DOUBLE}, {'name': 'min_clip_score', 'value': clip_score::DOUBLE}
    ]) FROM scores
    UNION ALL
    SELECT lower(hex(p.pair_id)), unnest([
        {'name': 'min_side', 'value': least(original_width, original_height)::DOUBLE},
        {'name': 'max_aspect', 'value': greatest(original_width, original_height) / least(original_width, original_height)}
    ]) FROM _pairs p JOIN _images i ON i.partition = p.partition AND i.url = p.url AND i.outcome = 'ok'
), near AS (
    SELECT DISTINCT name, threshold, pair_id, item.value AS value,
           CASE WHEN is_least THEN value >= threshold ELSE value <= threshold END AS passed
    FROM measured JOIN limits ON limits.name = measured.item.name
    WHERE abs(item.value - threshold) <= greatest($within * threshold, if(ends_with(name, '_characters') OR name = 'min_side', 1, 0))
)
SELECT name AS threshold_name, threshold, count(*) FILTER (WHERE NOT passed) AS just_missed,
       count(*) FILTER (WHERE passed) AS just_passed,
       arg_min(pair_id, (abs(value - threshold), pair_id)) FILTER (WHERE NOT passed) AS nearest_missed,
       arg_min(pair_id, (abs(value - threshold), pair_id)) FILTER (WHERE passed) AS nearest_passed
FROM near GROUP BY name, threshold ORDER BY name
