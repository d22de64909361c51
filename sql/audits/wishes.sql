-- What owners asked of training, by signal, place and host: pairs that it refused, and those that it was unreadable for.
-- column signal: By which signal.
-- column value: What the signal says.
-- column place: Where it stands.
-- column host: The host of the image's address.
-- column reason: The reason.
-- column refused: Pairs that it refused.
-- column unreadable_but_admitted: Pairs that were let pass though it could not be read.
WITH met AS (
    SELECT
        coalesce(evidence ->> '$.signal', CASE
            WHEN reason = 'page_noai' THEN 'robots meta or X-Robots-Tag'
            WHEN reason = 'page_tdm_reserved' THEN 'tdm-reservation'
            WHEN reason = 'page_wish_unreadable' THEN 'Content-Signal or Content-Usage'
            WHEN reason = 'domain_opted_out' THEN 'opt-out list'
            ELSE 'robots.txt'
        END) AS signal,
        coalesce(evidence ->> '$.value', CASE
            WHEN reason = 'page_noai' THEN 'noai'
            WHEN reason = 'page_tdm_reserved' THEN '1'
            WHEN reason = 'page_wish_unreadable' THEN 'unreadable'
            WHEN reason = 'robots_disallowed' THEN 'could not be had'
        END) AS value,
        coalesce(evidence ->> '$.place', CASE
            WHEN starts_with(reason, 'page_') THEN 'page'
            WHEN reason = 'domain_opted_out' THEN 'fetch.opted_out_domains'
            ELSE 'robots.txt'
        END) AS place,
        CASE WHEN starts_with(reason, 'page_') THEN page_url ELSE url END AS address,
        reason,
        1 AS refused,
        0 AS admitted
    FROM dropped
    WHERE reason IN (
        'page_noai', 'page_tdm_reserved', 'page_content_signal', 'page_content_usage', 'page_wish_unreadable',
        'data_mining_prohibited', 'c2pa_training_refused',
        'page_rsl_prohibited', 'page_rsl_payment_required', 'page_rsl_unreadable',
        'rsl_prohibited', 'rsl_payment_required', 'rsl_unreadable',
        'robots_disallowed', 'robots_disallowed_others', 'ai_txt_disallowed', 'robots_noai', 'tdm_reserved',
        'content_signal_refused', 'content_usage_refused', 'wish_unreadable', 'domain_opted_out'
    )
    UNION ALL
    SELECT wish_signal, wish_value, wish_place, url, NULL, 0, 1
    FROM images WHERE outcome = 'ok' AND wish_signal IS NOT NULL
    UNION ALL
    SELECT said.signal, said.value, if(starts_with(said.signal, 'Content-'), 'header', 'page'), page_url, NULL, 0, 1
    FROM (
        SELECT page_url, archive, "offset", ordinal, unnest([
            {'signal': 'tdm-reservation', 'value': 'unreadable: ' || page_tdm_unreadable},
            {'signal': 'Content-Signal', 'value': page_content_signal},
            {'signal': 'Content-Usage', 'value': page_content_usage},
            {'signal': 'RSL', 'value': page_rsl}
        ]) AS said
        FROM candidates
    ) ANTI JOIN (
        SELECT * FROM dropped WHERE reason IN ('page_wish_unreadable', 'page_rsl_unreadable')
    ) USING (archive, "offset", ordinal)
    WHERE starts_with(said.value, 'unreadable: ')
)
SELECT
    signal, value, place,
    regexp_extract(address, '^https?://(\[[^\]]*\]|[^/:?#]*?)\.*(?::\d+)?(?:[/?#]|$)', 1) AS host,
    any_value(reason) AS reason, sum(refused)::BIGINT AS refused, sum(admitted)::BIGINT AS unreadable_but_admitted
FROM met
GROUP BY ALL
ORDER BY refused DESC, unreadable_but_admitted DESC, signal, value, place, host
