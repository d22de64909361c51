-- Every row that did not reach the shards: which stage dropped it, why, and on what evidence.
WITH candidate_verdicts AS (
    SELECT 'text' AS stage, * FROM _text_verdicts
    UNION ALL SELECT 'match', * FROM _match_verdicts
    UNION ALL SELECT 'dedup', * FROM _dedup_verdicts
    UNION ALL SELECT 'prebalance', * FROM _prebalance_verdicts
), pair_verdicts AS (
    SELECT 'fetch' AS stage, * FROM _fetch_verdicts
    UNION ALL SELECT 'image', * FROM _image_verdicts
    UNION ALL SELECT 'neardup', * FROM _neardup_verdicts
    UNION ALL SELECT 'decontaminate', * FROM _decontaminate_verdicts
    UNION ALL SELECT 'balance', * FROM _balance_verdicts
)
SELECT lower(hex(c.pair_id)) AS pair_id, c.url, c.text, v.stage, v.reason, v.evidence, c.page_url, c.archive, c."offset", c.ordinal
FROM candidate_verdicts v JOIN _candidates c ON c.partition = v.partition AND c.row = v.row
UNION ALL
SELECT lower(hex(p.pair_id)), p.url, p.text, v.stage, v.reason, v.evidence, p.page_url, p.archive, p."offset", p.ordinal
FROM pair_verdicts v JOIN _pairs p ON p.partition = v.partition AND p.row = v.row
