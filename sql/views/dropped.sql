-- Every row that did not reach the shards: which stage dropped it, why, and on what evidence.
SELECT lower(hex(c.pair_id)) AS pair_id, c.url, c.host, c.text, v.stage, v.reason, v.evidence, c.page_url, c.archive, c."offset", c.ordinal
FROM _candidates_verdicts v JOIN _candidates c ON c.partition = v.partition AND c.row = v.row
UNION ALL
SELECT lower(hex(p.pair_id)), p.url, p.host, p.text, v.stage, v.reason, v.evidence, p.page_url, p.archive, p."offset", p.ordinal
FROM _pairs_verdicts v JOIN _pairs p ON p.partition = v.partition AND p.row = v.row
