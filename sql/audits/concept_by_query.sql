-- Which queries stand for a concept: those that hold it, with their pairs before the first balance and in the dataset.
-- $concept = photo: whole words that the query holds, in any case; of scripts without capitals any part
-- $most = 50: how many queries
-- column query: The query.
-- column source: Where the list has the query from.
-- column candidate_count: Distinct pairs whose text contains it, before the first balance.
-- column kept_count: Pairs of the dataset whose text contains it.
-- column example: One of their texts.
SELECT query, source, coalesce(candidate_count, 0) AS candidate_count, coalesce(kept_count, 0) AS kept_count,
       (SELECT min(text) FROM pairs WHERE list_contains(pairs.query_ids, queries.query_id)) AS example
FROM queries WHERE contains(lower(query), lower($concept))
    AND regexp_matches(query, '(?i)(^|[^\p{Ll}\p{Lu}\p{Nd}])' || regexp_escape($concept) || '($|[^\p{Ll}\p{Lu}\p{Nd}])')
ORDER BY candidate_count DESC, query_id LIMIT $most
