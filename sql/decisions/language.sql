-- Which language each text is in, by what the text itself says and by where it stands.
--   rows      the candidates alive: row, and the candidate's columns
--   measures  row, characters, words, language_guesses (a list of language, probability: the best of the text alone),
--             has_letters, is_latin (the script of most), accents (letters beyond a to z: 0, 1 or 2), function_words (a language
--             for each of its function words that the text has), is_name_like (a word, or few that all begin with a capital, as names do):
--             all but the script and foreign letters (2) null where the model is sure by itself
--   config    one row: language_min_probability
-- With language_context alone; else the model's best guess counts as it is.
--
-- The model's guess on a text of a few words is weak evidence: "Frau berät Seniorin" is Finnish to it. So Bayes' rule:
-- what the text alone says of each language, times how often that language stands where the text does. It is undetermined
-- if it has no letters, if it looks like a name and nothing else, or if no language is likely enough.
WITH shares(language, share) AS (
    -- How many pages of a hundred are in each language, by Common Crawl's statistics, rounded; any other: 0.03.
    VALUES ('en', 45), ('ru', 6), ('de', 6), ('ja', 5), ('zh', 5), ('es', 5), ('fr', 4.5), ('it', 2.5), ('pt', 2.5),
        ('nl', 2), ('pl', 1.8), ('tr', 1.2), ('cs', 1.1), ('vi', 1), ('id', 1), ('ko', 0.7), ('sv', 0.7), ('ar', 0.7),
        ('fa', 0.7), ('hu', 0.6), ('el', 0.6), ('ro', 0.6), ('uk', 0.6), ('da', 0.5), ('th', 0.5), ('fi', 0.4),
        ('no', 0.4), ('sk', 0.4), ('bg', 0.3), ('he', 0.3), ('hr', 0.2), ('lt', 0.2), ('ca', 0.2), ('sl', 0.15),
        ('sr', 0.2), ('et', 0.15), ('lv', 0.1)
),
scripts(language) AS (
    -- What is not written in Latin letters.
    VALUES ('ru'), ('uk'), ('be'), ('bg'), ('mk'), ('sr'), ('kk'), ('ky'), ('mn'), ('tg'), ('tt'), ('ba'), ('cv'), ('os'), ('ce'),
        ('ja'), ('zh'), ('wuu'), ('yue'), ('ko'), ('th'), ('lo'), ('km'), ('my'), ('ka'), ('hy'), ('el'), ('he'), ('yi'), ('ar'),
        ('arz'), ('fa'), ('ur'), ('ps'), ('ckb'), ('sd'), ('ug'), ('hi'), ('mr'), ('ne'), ('sa'), ('bn'), ('as'), ('pa'), ('gu'),
        ('or'), ('ta'), ('te'), ('kn'), ('ml'), ('si'), ('am'), ('bo'), ('dv')
),
domains(top, language) AS (
    -- What is mostly written below a country's domain; those of which the world makes use (.co, .io, .tv, .me) say nothing.
    VALUES ('de', 'de'), ('at', 'de'), ('ch', 'de'), ('ch', 'fr'), ('li', 'de'), ('fr', 'fr'), ('be', 'nl'), ('be', 'fr'),
        ('nl', 'nl'), ('es', 'es'), ('mx', 'es'), ('ar', 'es'), ('pe', 'es'), ('cl', 'es'), ('uy', 'es'), ('ve', 'es'),
        ('ec', 'es'), ('bo', 'es'), ('pt', 'pt'), ('br', 'pt'), ('it', 'it'), ('ru', 'ru'), ('su', 'ru'), ('by', 'ru'),
        ('kz', 'ru'), ('ua', 'uk'), ('ua', 'ru'), ('pl', 'pl'), ('se', 'sv'), ('dk', 'da'), ('no', 'no'), ('fi', 'fi'),
        ('is', 'is'), ('jp', 'ja'), ('kr', 'ko'), ('cn', 'zh'), ('tw', 'zh'), ('hk', 'zh'), ('cz', 'cs'), ('sk', 'sk'),
        ('hu', 'hu'), ('gr', 'el'), ('tr', 'tr'), ('ro', 'ro'), ('bg', 'bg'), ('hr', 'hr'), ('si', 'sl'), ('rs', 'sr'),
        ('lt', 'lt'), ('lv', 'lv'), ('ee', 'et'), ('il', 'he'), ('ir', 'fa'), ('vn', 'vi'), ('th', 'th'), ('id', 'id'),
        ('uk', 'en'), ('us', 'en'), ('ie', 'en'), ('au', 'en'), ('nz', 'en'), ('ca', 'en'), ('ca', 'fr'), ('za', 'en')
),
addresses AS (
    SELECT
        *,
        -- de of https://example.org/de/a, and of https://de.example.org/a
        CASE WHEN is_page THEN lower(coalesce(
            nullif(regexp_extract(address, '^[a-z]+://[^/?#]+/([a-z]{2})(?:[-_][A-Za-z]{2})?(?:[/?#]|$)', 1), ''),
            regexp_extract(address, '^[a-z]+://([a-z]{2})\.[^/?#.]+\.[a-z]', 1)
        )) ELSE '' END AS of_address,
        lower(regexp_extract(address, '^[a-z]+://[^/?#:]*\.([A-Za-z]{2})(?:[:/?#]|$)', 1)) AS top
    FROM (SELECT DISTINCT coalesce(nullif(page_url, ''), url) AS address, coalesce(page_url, '') <> '' AS is_page FROM rows)
),
tops AS (
    SELECT top, list(language ORDER BY language) AS languages FROM domains GROUP BY top
),
texts AS (
    SELECT
        measures.row, archive, "offset", addresses.is_page, of_address,
        -- de of de-AT
        CASE WHEN page_language <> '' THEN lower(regexp_extract(page_language, '^\s*([A-Za-z]+)', 1)) ELSE '' END AS declared,
        coalesce(tops.languages, []) AS of_domain,
        CASE WHEN of_address IN (SELECT language FROM shares) THEN [of_address] ELSE [] END AS of_known_address,
        coalesce(language_guesses, []) AS guesses, words, is_latin, accents, coalesce(function_words, []) AS function_words,
        -- what a guess counts on its page, by the text's length, in whole numbers, whose sum has no order
        list_transform(guesses, lambda x: (1000 * x.probability)::BIGINT * least(characters, 200)) AS weights
    FROM measures
    JOIN rows USING (row)
    JOIN addresses ON address = coalesce(nullif(page_url, ''), url) AND is_page = (coalesce(page_url, '') <> '')
    LEFT JOIN tops USING (top)
),
-- What the texts of a page are in.
pages AS (
    SELECT archive, "offset", language, sum(weight)::BIGINT AS weight
    FROM (
        SELECT archive, "offset", unnest(guesses).language AS language, unnest(weights) AS weight FROM texts WHERE is_page
    )
    GROUP BY ALL
),
totals AS (
    SELECT archive, "offset", sum(weight)::BIGINT AS weight FROM pages GROUP BY ALL
),
-- Every language that something speaks for.
possible AS (
    SELECT
        texts.* EXCLUDE (guesses, weights, of_known_address),
        1 - coalesce(list_sum(list_transform(guesses, lambda x: x.probability)), 0) AS left_over,
        coalesce(totals.weight, 0) - coalesce(list_sum(weights), 0) AS others_weight,
        unnest(list_concat(
            list_transform(guesses, lambda x, i: {'language': x.language, 'probability': x.probability, 'weight': weights[i]}),
            list_transform(
                list_filter(
                    list_distinct(list_concat(['en', declared], of_known_address, of_domain)),
                    lambda x: x <> '' AND NOT list_contains(list_transform(guesses, lambda y: y.language), x)
                ),
                lambda x: {'language': x, 'probability': NULL, 'weight': 0}
            )
        ), recursive := true)
    FROM texts
    LEFT JOIN totals ON totals.archive = texts.archive AND totals."offset" = texts."offset" AND is_page
),
weighed AS (
    SELECT
        possible.row,
        possible.language,
        -- What the text alone says: the more words, the more it counts. A language that is not among the best has a trace
        -- of what these leave.
        pow(coalesce(probability, greatest(0.00001, least(0.002, left_over / 20))), least(1.0, 0.5 + 0.05 * words))
        -- What its words and letters say: function words of the language, of which four are as good as more; its script;
        -- English has accents in names alone.
        * pow(8, least(4, len(list_filter(function_words, lambda x: x = possible.language))))
        * CASE WHEN possible.language IN (SELECT language FROM scripts) = is_latin THEN 0.01 ELSE 1 END
        * CASE WHEN possible.language <> 'en' THEN 1 WHEN accents = 2 THEN 0.01 WHEN accents = 1 THEN 0.25 ELSE 1 END
        -- Where it stands: the web's share, and what is added by each that speaks for the language.
        * (
            coalesce(shares.share, 0.03) / 100
            + 4 * (possible.language = declared)::INTEGER
            + 2 * (possible.language = of_address)::INTEGER
            + 1.5 * list_contains(of_domain, possible.language)::INTEGER
            -- the page's other texts
            + 3 * greatest(0, coalesce(pages.weight, 0) - possible.weight) / greatest(1000 * 50, others_weight)
        ) AS weight
    FROM possible
    LEFT JOIN shares ON shares.language = possible.language
    LEFT JOIN pages
        ON pages.archive = possible.archive AND pages."offset" = possible."offset" AND pages.language = possible.language
        AND is_page
),
scaled AS (
    SELECT row, language, (1e12 * weight)::BIGINT AS weight FROM weighed  -- a sum of whole numbers needs no order
),
heaviest AS (
    SELECT row, max(weight) AS weight, sum(weight) AS total FROM scaled GROUP BY row
),
best AS (
    SELECT row, min(scaled.language) AS language, any_value(heaviest.weight / heaviest.total) AS probability
    FROM heaviest JOIN scaled USING (row, weight)
    GROUP BY row
)
SELECT
    measures.row,
    best.language,
    best.probability::FLOAT AS language_probability,
    (
        NOT coalesce(has_letters, true)
        OR best.probability < config.language_min_probability
        -- (English titles begin every word with a capital, so there it says nothing)
        OR coalesce(is_name_like, false) AND best.language <> 'en' AND coalesce(own_guess.probability, 0) < 0.55
    ) AS is_undetermined
FROM measures
JOIN best USING (row)
LEFT JOIN possible AS own_guess ON own_guess.row = best.row AND own_guess.language = best.language
CROSS JOIN config
ORDER BY measures.row
