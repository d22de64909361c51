-- What each filter alone, switched on, would drop: all measures judged by all thresholds, whatever dropped the row first.
-- A row is judged where it was measured: texts of all candidates, images of all pairs whose image came. Filters whose
-- measures nobody keeps are not here: lists of words and domains, and the forms of what is no caption; of image_is_stand_in
-- and text_is_interface only what an image's site says of it, whatever the text's length, while dropped_as_first has those of all forms.
-- column stage: The stage.
-- column reason: The reason.
-- column judged: Rows that were measured, so that it can judge them.
-- column alone_would_drop: How many of them it would drop.
-- column dropped_as_first: How many it did drop, as the first filter that did.
WITH options AS (
    SELECT max(value) FILTER (WHERE key = 'text.min_characters')::DOUBLE AS min_characters,
           max(value) FILTER (WHERE key = 'text.min_words')::DOUBLE AS min_words,
           max(value) FILTER (WHERE key = 'text.max_characters')::DOUBLE AS max_characters,
           max(value) FILTER (WHERE key = 'text.languages') AS languages,
           max(value) FILTER (WHERE key = 'text.max_profanity_probability')::DOUBLE AS max_profanity_probability,
           max(value) FILTER (WHERE key = 'text.max_site_texts_per_image')::DOUBLE AS max_site_texts_per_image,
           max(value) FILTER (WHERE key = 'text.max_site_page_share')::DOUBLE AS max_site_page_share,
           max(value) FILTER (WHERE key = 'image.min_side')::DOUBLE AS min_side,
           max(value) FILTER (WHERE key = 'image.max_aspect')::DOUBLE AS max_aspect,
           max(value) FILTER (WHERE key = 'image.max_nsfw_probability')::DOUBLE AS max_nsfw_probability,
           max(value) FILTER (WHERE key = 'image.min_clip_score')::DOUBLE AS min_clip_score,
           max(value) FILTER (WHERE key = 'faces.min_score')::DOUBLE AS min_face_score
    FROM settings
), judged AS (
    SELECT 'text' AS stage, count(*) AS judged, {
        'text_too_short': count(*) FILTER (
            WHERE length(text) < min_characters OR length(text) - length(replace(text, ' ', '')) + 1 < min_words),
        'text_too_long': count(*) FILTER (WHERE length(text) > max_characters),
        'page_error': count(*) FILTER (WHERE page_status NOT BETWEEN 200 AND 299),
        'page_noai': count(*) FILTER (WHERE page_noai),
        'page_tdm_reserved': count(*) FILTER (WHERE page_tdm_reserved),
        'page_content_signal': count(*) FILTER (WHERE page_content_signal IN ('ai-train=no', 'ai-train=n')),
        'page_content_usage': count(*) FILTER (WHERE regexp_full_match(page_content_usage, '(train-ai|train-genai|bots)=no?')),
        'page_rsl_prohibited': count(*) FILTER (WHERE starts_with(page_rsl, 'prohibited: ')),
        'page_rsl_payment_required': count(*) FILTER (WHERE starts_with(page_rsl, 'payment: ')),
        'page_rsl_unreadable': count(*) FILTER (WHERE starts_with(page_rsl, 'unreadable: ')),
        'page_wish_unreadable': count(*) FILTER (WHERE starts_with(page_content_signal, 'unreadable: ')
            OR starts_with(page_content_usage, 'unreadable: ') OR page_tdm_unreadable IS NOT NULL),
        'personal_data': count(*) FILTER (WHERE len(personal_data) > 0)
    } AS alone FROM candidates, options
), repeated AS (
    SELECT 'text' AS stage, (SELECT count(*) FROM _candidates) AS judged, {
        'text_repeats_on_site': count(*) FILTER (WHERE is_repeat),
        'image_is_stand_in': count(*) FILTER (
            WHERE max_site_texts_per_image > 0 AND image_texts > max_site_texts_per_image),
        'text_is_interface': count(*) FILTER (
            WHERE max_site_page_share < 1 AND image_pages > max_site_page_share * of_pages)
    } AS alone FROM _captions, options
), languages AS (
    SELECT 'text' AS stage, count(*) AS judged, {
        'language_not_allowed': count(*) FILTER (WHERE languages NOT IN ('[]', '') AND NOT contains(languages, '"' || language || '"')),
        'text_profane': count(*) FILTER (WHERE profanity_probability > max_profanity_probability)
    } AS alone FROM _texts, options
), shown AS (
    SELECT 'image' AS stage, count(*) AS judged, {
        'image_too_small': count(*) FILTER (WHERE least(original_width, original_height) < min_side),
        'image_aspect': count(*) FILTER (
            WHERE greatest(original_width, original_height) > max_aspect * least(original_width, original_height)),
        'nsfw_image': count(*) FILTER (WHERE nsfw_probability > max_nsfw_probability),
        'image_has_face': count(*) FILTER (WHERE list_max(face_scores) >= coalesce(min_face_score, 0.6)),
        'clip_score_low': count(*) FILTER (WHERE clip_score < min_clip_score)
    } AS alone
    FROM _pairs p JOIN _images i ON i.partition = p.partition AND i.url = p.url AND i.outcome = 'ok'
    LEFT JOIN _nsfw n ON n.partition = i.partition AND n.row = i.row
    LEFT JOIN _faces f ON f.partition = i.partition AND f.row = i.row
    LEFT JOIN _clip_scores s ON s.partition = p.partition AND s.row = p.row, options
), all_alone AS (
    SELECT stage, judged, unnest(map_entries(CAST(to_json(alone) AS MAP(VARCHAR, BIGINT)))) AS item FROM judged
    UNION ALL SELECT stage, judged, unnest(map_entries(CAST(to_json(alone) AS MAP(VARCHAR, BIGINT)))) FROM languages
    UNION ALL SELECT stage, judged, unnest(map_entries(CAST(to_json(alone) AS MAP(VARCHAR, BIGINT)))) FROM repeated
    UNION ALL SELECT stage, judged, unnest(map_entries(CAST(to_json(alone) AS MAP(VARCHAR, BIGINT)))) FROM shown
), first AS (
    SELECT stage, reason, count(*) AS dropped FROM dropped GROUP BY stage, reason
)
SELECT stage, reason, judged, alone_would_drop, coalesce(dropped, 0) AS dropped_as_first
FROM (SELECT stage, judged, item.key AS reason, item.value AS alone_would_drop FROM all_alone) LEFT JOIN first USING (stage, reason)
ORDER BY stage DESC, alone_would_drop DESC, reason
