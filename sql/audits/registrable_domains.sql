-- The registrable domains (example.co.uk of img.example.co.uk) that most pairs are from, by pairs and by bytes.
-- $most = 50: how many domains
-- column domain: The registrable domain: a public suffix and the label before it.
-- column hosts: How many hosts of images.
-- column pairs: How many pairs of the dataset.
-- column share_of_pairs: Their share of all pairs.
-- column bytes: Bytes of the shards that their samples take.
-- column share_of_bytes: Their share of all these bytes.
WITH hosts AS (
    SELECT host, count(*) AS pairs, sum(size)::BIGINT AS bytes
    FROM pairs GROUP BY ALL
), labelled AS (
    SELECT host, len(string_split(host, '.')) - start + 1 AS labels,
           unnest(['', '!', '*.']) || array_to_string(string_split(host, '.')[start:], '.') AS rule
    FROM (SELECT host, unnest(range(1, len(string_split(host, '.')) + 1)) AS start FROM hosts)
), matched AS (
    -- How many labels a rule makes of the public suffix; an exception wins, then the longest (publicsuffix.org/list).
    SELECT host, max(CASE WHEN starts_with(rule, '!') THEN 999 + labels WHEN starts_with(rule, '*.') THEN labels + 1 ELSE labels END) AS found
    FROM labelled JOIN _public_suffixes USING (rule)
    GROUP BY host
), named AS (
    SELECT host, CASE
        WHEN regexp_matches(host, '^\[|^[\d.]+$') THEN host  -- an address has no domain
        ELSE array_to_string(string_split(host, '.')[-(1 + coalesce(CASE WHEN found >= 1000 THEN found - 1000 ELSE found END, 1)):], '.')
    END AS domain, pairs, bytes
    FROM hosts LEFT JOIN matched USING (host)
)
SELECT domain, count(*) AS hosts, sum(pairs)::BIGINT AS pairs, round(sum(pairs) / sum(sum(pairs)) OVER (), 4) AS share_of_pairs,
       sum(bytes)::BIGINT AS bytes, round(sum(bytes) / sum(sum(bytes)) OVER (), 4) AS share_of_bytes
FROM named GROUP BY domain ORDER BY pairs DESC, domain LIMIT $most
