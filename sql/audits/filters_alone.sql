-- What each filter alone, switched on, would drop: all measures judged by all thresholds, whatever dropped the row first.
-- A row is judged where it was measured: texts and pages of all candidates, queries of those whose text passed, images of all
-- pairs whose image came. What is told by other rows is not here: duplicates, full queries and sets of images; nor are private
-- hosts, some of which a config allows, and a config's own filters.
-- column stage: The stage.
-- column reason: The reason.
-- column judged: Rows that were measured, so that it can judge them.
-- column alone_would_drop: How many of them it would drop.
-- column dropped_as_first: How many it did drop, as the first filter that did.
WITH given AS (
    SELECT MAP(list(key), list(value)) AS values FROM settings
), options AS (
    SELECT values['text.min_characters']::DOUBLE AS min_characters,
           values['text.min_words']::DOUBLE AS min_words,
           values['text.max_characters']::DOUBLE AS max_characters,
           coalesce(TRY_CAST(TRY_CAST(values['text.languages'] AS JSON) AS VARCHAR[]), []) AS languages,
           coalesce(values['text.language_context'], 'true') = 'true' AS has_context,
           values['text.language_min_probability']::DOUBLE AS language_min_probability,
           coalesce(values['text.undetermined'], 'keep') = 'keep' AS keeps_undetermined,
           values['text.max_profanity_probability']::DOUBLE AS max_profanity_probability,
           nullif(values['text.max_texts_on_page']::DOUBLE, 0) AS max_texts_on_page,
           nullif(values['text.max_site_texts_per_image']::DOUBLE, 0) AS max_site_texts_per_image,
           values['text.max_site_page_share']::DOUBLE AS max_site_page_share,
           coalesce(values['text.min_weak_terms']::DOUBLE, 2) AS min_weak_terms,
           coalesce(TRY_CAST(TRY_CAST(values['text.allowed_terms'] AS JSON) AS VARCHAR[]), []) AS allowed_terms,
           coalesce(TRY_CAST(TRY_CAST(values['text.blocked_categories'] AS JSON) AS VARCHAR[]), []) AS blocked_categories,
           values['image.min_side']::DOUBLE AS min_side,
           values['image.max_aspect']::DOUBLE AS max_aspect,
           values['image.max_nsfw_probability']::DOUBLE AS max_nsfw_probability,
           values['image.min_clip_score']::DOUBLE AS min_clip_score,
           coalesce(values['faces.min_score']::DOUBLE, 0.6) AS min_face_score
    FROM given
), odd_addresses AS (
    -- Those that are not of the web as it is usually written; files say by their statistics that they have none.
    SELECT url, host, regexp_matches(url, '^[A-Za-z][A-Za-z0-9+.-]*:') AS has_scheme
    FROM _candidates WHERE NOT starts_with(url, 'http://') AND NOT starts_with(url, 'https://')
), pages AS (
    SELECT 'text' AS stage, count(*) AS judged, {
        'url_invalid': count(*) FILTER (WHERE coalesce(host, '') = '' OR strlen(url) > 2048 AND length(url) > 2048)
            + (SELECT count(*) FROM odd_addresses WHERE NOT has_scheme AND coalesce(host, '') <> ''
               AND length(url) <= 2048),
        'url_scheme_not_allowed': (SELECT count(*) FROM odd_addresses WHERE has_scheme
            AND NOT regexp_matches(url, '^[Hh][Tt][Tt][Pp][Ss]?:')),
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
    } AS alone FROM _candidates
), declared AS (
    -- Without context the language that a page declares counts where the guess is unsure.
    SELECT partition, row, lower(regexp_extract(page_language, '^\s*([A-Za-z]+)', 1)) AS declared_language
    FROM _candidates, options WHERE NOT has_context AND page_language <> ''
), texts AS (
    SELECT t.*, options.*, is_repeat, image_texts > max_site_texts_per_image AS has_site_texts,
           max_site_page_share < 1 AND image_pages > max_site_page_share * of_pages AND words <= 4 AS is_on_most_pages,
           list_transform(not_captions, lambda x: x.kind) AS kinds,
           language_probability < language_min_probability AND coalesce(declared_language, '') <> '' AS is_declared,
           CASE WHEN NOT has_context AND is_declared THEN declared_language ELSE language END AS own_language,
           CASE WHEN len(blocked_terms) > 0 THEN list_filter(blocked_terms, lambda x:
               (x.language IS NULL OR x.language = own_language) AND NOT list_contains(allowed_terms, x.term)) END AS terms
    FROM _texts t LEFT JOIN _captions USING (partition, row) LEFT JOIN declared USING (partition, row), options
), written AS (
    SELECT 'text' AS stage, count(*) AS judged, {
        'domain_blocked': count(*) FILTER (WHERE len(blocked_domains) > 0 AND len(list_filter(blocked_domains, lambda x:
            x.category IS NULL OR len(blocked_categories) = 0 OR list_contains(blocked_categories, x.category))) > 0),
        'address_unsafe': count(*) FILTER (WHERE unsafe_address IS NOT NULL),
        'text_too_short': count(*) FILTER (WHERE characters < min_characters OR words < min_words),
        'text_too_long': count(*) FILTER (WHERE characters > max_characters),
        'text_repeats_on_site': count(*) FILTER (WHERE is_repeat),
        'text_is_filename': count(*) FILTER (WHERE is_filename),
        'image_is_stand_in': count(*) FILTER (
            WHERE list_contains(kinds, 'stand_in') OR texts_on_page > max_texts_on_page OR has_site_texts),
        'text_is_interface': count(*) FILTER (WHERE list_contains(kinds, 'interface') OR is_on_most_pages),
        'image_is_avatar': count(*) FILTER (WHERE list_contains(kinds, 'avatar')),
        'image_is_logo': count(*) FILTER (WHERE list_contains(kinds, 'logo')),
        'image_is_advertisement': count(*) FILTER (WHERE list_contains(kinds, 'advertisement')),
        'text_is_credit': count(*) FILTER (WHERE list_contains(kinds, 'credit')),
        'text_is_code': count(*) FILTER (WHERE list_contains(kinds, 'code')),
        'language_not_allowed': count(*) FILTER (
            WHERE len(languages) > 0 AND NOT list_contains(languages, own_language) AND CASE
                WHEN has_context THEN NOT (coalesce(is_undetermined, false) AND keeps_undetermined)
                ELSE is_declared OR language_probability >= language_min_probability
            END),
        'text_blocked': count(*) FILTER (
            WHERE len(list_filter(terms, lambda x: x.list NOT IN ('doubtful', 'ldnoobw'))) > 0
            OR len(list_distinct(list_transform(terms, lambda x: lower(x.term)))) >= min_weak_terms),
        'text_profane': count(*) FILTER (WHERE profanity_probability > max_profanity_probability)
    } AS alone FROM texts
), matched AS (
    SELECT 'match' AS stage, count(*) AS judged, {'no_query_match': count(*) FILTER (WHERE len(query_ids) = 0)} AS alone
    FROM _matches
), shown AS (
    SELECT 'image' AS stage, count(*) AS judged, {
        'image_too_small': count(*) FILTER (WHERE least(original_width, original_height) < min_side),
        'image_aspect': count(*) FILTER (
            WHERE greatest(original_width, original_height) > max_aspect * least(original_width, original_height)),
        'nsfw_image': count(*) FILTER (WHERE nsfw_probability > max_nsfw_probability),
        'image_has_face': count(*) FILTER (WHERE list_max(face_scores) >= min_face_score),
        'clip_score_low': count(*) FILTER (WHERE clip_score < min_clip_score)
    } AS alone
    FROM _pairs p JOIN _images i ON i.partition = p.partition AND i.url = p.url AND i.outcome = 'ok'
    LEFT JOIN _nsfw n ON n.partition = i.partition AND n.row = i.row
    LEFT JOIN _faces f ON f.partition = i.partition AND f.row = i.row
    LEFT JOIN _clip_scores s ON s.partition = p.partition AND s.row = p.row, options
), all_alone AS (
    SELECT stage, judged, unnest(map_entries(CAST(to_json(alone) AS MAP(VARCHAR, BIGINT)))) AS item FROM pages
    UNION ALL SELECT stage, judged, unnest(map_entries(CAST(to_json(alone) AS MAP(VARCHAR, BIGINT)))) FROM written
    UNION ALL SELECT stage, judged, unnest(map_entries(CAST(to_json(alone) AS MAP(VARCHAR, BIGINT)))) FROM matched
    UNION ALL SELECT stage, judged, unnest(map_entries(CAST(to_json(alone) AS MAP(VARCHAR, BIGINT)))) FROM shown
), verdicts AS (
    SELECT stage, reason FROM _candidates_verdicts UNION ALL SELECT stage, reason FROM _pairs_verdicts
), first AS (
    SELECT stage, reason, count(*) AS dropped FROM verdicts GROUP BY stage, reason
)
SELECT stage, reason, judged, alone_would_drop, coalesce(dropped, 0) AS dropped_as_first
FROM (SELECT stage, judged, item.key AS reason, item.value AS alone_would_drop FROM all_alone) LEFT JOIN first USING (stage, reason)
ORDER BY stage DESC, alone_would_drop DESC, reason
