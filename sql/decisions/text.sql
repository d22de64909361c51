-- Which candidates the stage `text` drops, and why.
--   rows      the candidates alive: row, and the candidate's columns
--   measures  row, characters, words, is_filename, language, language_probability, is_undetermined (see language.sql),
--             blocked_domains (a list of entry, list, category), blocked_terms (of term, list, language),
--             profanity_probability, texts_on_page, not_captions (a list of kind, found),
--             unsafe_address (what marks the image's or the page's address so, else null)
--   captions  the texts that were reworded, or repeat on their site: row, repeat, repeat_found, repeat_of, is_repeat,
--             image_texts, image_pages, of_pages
--   config    one row: the keys of `text`, and allowed_hosts, the hosts whose addresses the config itself gives
WITH addresses AS (
    SELECT
        *,
        lower(regexp_extract(url, '^([A-Za-z][A-Za-z0-9+.-]*):', 1)) AS scheme,
        coalesce(regexp_replace(lower(host), ':\d*$', ''), '') AS host_name,  -- without its port
        lower(regexp_extract(page_language, '^\s*([A-Za-z]+)', 1)) AS declared_language  -- de of de-AT
    FROM rows
),
measured AS (  -- without the measures of a config's own filters, whatever their names
    SELECT
        row, characters, words, is_filename, language, language_probability, is_undetermined, blocked_domains,
        blocked_terms, profanity_probability, texts_on_page, not_captions, unsafe_address
    FROM measures
),
spoken AS (
    SELECT
        addresses.* EXCLUDE (row),
        measured.*,
        -- In context, what language.sql says. Else a confident guess, else what the page declares, else the guess.
        CASE
            WHEN config.language_context THEN language
            WHEN language_probability < config.language_min_probability AND declared_language <> '' THEN declared_language
            ELSE language
        END AS own_language
    FROM addresses JOIN measured ON measured.row = addresses.row CROSS JOIN config
),
held AS (
    SELECT
        spoken.*,
        -- Words count in their own language: "nicht" is a Dutch insult, and German for "not".
        list_filter(
            spoken.blocked_terms,
            lambda x: (x.language IS NULL OR x.language = own_language) AND NOT list_contains(config.allowed_terms, x.term)
        ) AS own_terms
    FROM spoken CROSS JOIN config
),
unsafe AS (
    SELECT
        held.*,
        -- Terms of the lists that are weak count together alone.
        coalesce(
            list_filter(own_terms, lambda x: x.list NOT IN ('doubtful', 'ldnoobw'))[1],
            CASE
                WHEN len(list_distinct(list_transform(own_terms, lambda x: lower(x.term)))) >= config.min_weak_terms
                    THEN own_terms[1]
            END
        ) AS blocked_term,
        list_filter(
            held.blocked_domains,
            lambda x: x.category IS NULL
                OR len(config.blocked_categories) = 0
                OR list_contains(config.blocked_categories, x.category)
        )[1] AS blocked_domain,
        CASE
            WHEN config.respect_tdm AND page_tdm_unreadable IS NOT NULL THEN json_object(
                'signal', 'tdm-reservation', 'value', 'unreadable: ' || page_tdm_unreadable, 'place', 'page'
            )
            WHEN config.respect_content_signal AND starts_with(page_content_signal, 'unreadable: ')
                THEN json_object('signal', 'Content-Signal', 'value', page_content_signal, 'place', 'header')
            WHEN config.respect_content_usage AND starts_with(page_content_usage, 'unreadable: ')
                THEN json_object('signal', 'Content-Usage', 'value', page_content_usage, 'place', 'header')
        END AS unreadable_wish,
        list_filter(held.not_captions, lambda x: list_contains(config.not_captions, x.kind))[1] AS not_caption
    FROM held CROSS JOIN config
),
judged AS (
    SELECT
        config.max_texts_on_page > 0 AND texts_on_page > config.max_texts_on_page AS has_texts_on_page,
        config.max_site_texts_per_image > 0 AND captions.image_texts > config.max_site_texts_per_image AS has_site_texts,
        -- What labels a button is of few words; a picture of what sells best has a caption on all pages of a shop.
        config.max_site_page_share < 1 AND captions.image_pages > config.max_site_page_share * captions.of_pages
            AND words <= 4 AS is_on_most_pages,
        CASE
            -- The address has no scheme, or no host, or is longer than any sitemap may hold (sitemaps.org: 2,048).
            WHEN scheme = '' OR scheme IN ('http', 'https') AND host_name = '' OR length(url) > 2048
                THEN 'url_invalid'
            -- Only the web is fetched from: no ftp:, file:, data: or javascript:.
            WHEN scheme NOT IN ('http', 'https')
                THEN 'url_scheme_not_allowed'
            -- The host is of this machine or its network; the fetcher would be led into it by a stranger's page.
            WHEN NOT (list_contains(config.allowed_hosts, host_name) OR list_contains(config.allowed_hosts, lower(host)))
                AND (
                    -- names without a dot, and those that no public name may end in (RFC 6761, 6762, 8375, ICANN)
                    NOT regexp_matches(host_name, '[.:]')
                    OR regexp_matches(host_name, '(^|\.)(localhost|localdomain|local|internal|home\.arpa)\.?$')
                    -- IPv4: this network, private, shared by carriers, loopback, link-local, protocol assignments,
                    -- documentation, benchmarks, multicast and reserved (IANA's special-purpose registry)
                    OR regexp_matches(host_name, '^(0|10|127|22[4-9]|2[345]\d)\.\d+\.\d+\.\d+\.?$')
                    OR regexp_matches(host_name, '^(169\.254|192\.168|172\.(1[6-9]|2\d|3[01])|198\.1[89])\.\d+\.\d+\.?$')
                    OR regexp_matches(host_name, '^100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.\d+\.\d+\.?$')
                    OR regexp_matches(host_name, '^(192\.0\.0|192\.0\.2|198\.51\.100|203\.0\.113)\.\d+\.?$')
                    -- IPv6: unspecified, loopback, IPv4 in disguise, NAT64, unique local, link- and site-local, multicast
                    OR regexp_matches(host_name, '^\[(::|64:ff9b:|f[cdf]|fe[89a-f])')
                )
                THEN 'url_private'
            -- The image's or the page's address, or a domain or folder above it, is on a list.
            WHEN blocked_domain IS NOT NULL
                THEN 'domain_blocked'
            -- The image's or the page's own address calls itself pornography.
            WHEN config.drop_unsafe_addresses AND unsafe_address IS NOT NULL
                THEN 'address_unsafe'
            -- An error page or a redirect: its images say nothing but that something is not there.
            WHEN page_status NOT BETWEEN 200 AND 299
                THEN 'page_error'
            -- The page asks not to be used for machine learning, and the config heeds it.
            WHEN config.respect_noai AND page_noai
                THEN 'page_noai'
            -- The page reserves text and data mining, as European law lets it, and the config heeds it.
            WHEN config.respect_tdm AND page_tdm_reserved
                THEN 'page_tdm_reserved'
            -- The page's Content-Signal says that it may not be trained on, and the config heeds it.
            WHEN config.respect_content_signal AND page_content_signal IN ('ai-train=no', 'ai-train=n')
                THEN 'page_content_signal'
            -- The page's Content-Usage (AIPREF) says so.
            WHEN config.respect_content_usage
                AND regexp_full_match(page_content_usage, '(train-ai|train-genai|bots)=no?')
                THEN 'page_content_usage'
            -- An RSL license that the page holds does not permit training.
            WHEN config.respect_rsl AND starts_with(page_rsl, 'prohibited: ')
                THEN 'page_rsl_prohibited'
            -- Or it asks for payment, a token or reports in return.
            WHEN config.respect_rsl AND starts_with(page_rsl, 'payment: ')
                THEN 'page_rsl_payment_required'
            -- Or it cannot be read, and the config takes that for a refusal.
            WHEN config.respect_rsl AND config.unreadable_license = 'refuse' AND starts_with(page_rsl, 'unreadable: ')
                THEN 'page_rsl_unreadable'
            -- The page asks something that cannot be read, and the config takes that for a refusal.
            WHEN config.unreadable_policy = 'refuse' AND unreadable_wish IS NOT NULL
                THEN 'page_wish_unreadable'
            -- The text held personal data, masked where it was first written, and the config keeps no such text.
            WHEN config.drop_personal_data AND len(personal_data) > 0
                THEN 'personal_data'
            -- Too few characters or words to say anything of an image.
            WHEN characters < config.min_characters OR words < config.min_words
                THEN 'text_too_short'
            -- More characters than a caption has.
            WHEN characters > config.max_characters
                THEN 'text_too_long'
            -- The text stands on so many images of the site that it tells none of them from the others.
            WHEN config.max_site_images_per_text > 0 AND captions.is_repeat
                THEN 'text_repeats_on_site'
            -- The text names a file, not what is in it.
            WHEN config.drop_filenames AND is_filename
                THEN 'text_is_filename'
            -- The image has so many texts on its page that it shows none of what they say.
            WHEN has_texts_on_page
                THEN 'image_is_stand_in'
            -- Or so many on the pages of its site.
            WHEN has_site_texts
                THEN 'image_is_stand_in'
            -- The image and its text are on most pages of the site, which are about other things.
            WHEN is_on_most_pages
                THEN 'text_is_interface'
            -- The text, or the image's address, has the form of what is no caption.
            WHEN not_caption IS NOT NULL
                THEN CASE not_caption.kind
                    WHEN 'stand_in' THEN 'image_is_stand_in'
                    WHEN 'interface' THEN 'text_is_interface'
                    WHEN 'avatar' THEN 'image_is_avatar'
                    WHEN 'logo' THEN 'image_is_logo'
                    WHEN 'advertisement' THEN 'image_is_advertisement'
                    WHEN 'credit' THEN 'text_is_credit'
                    WHEN 'code' THEN 'text_is_code'
                END
            -- A language that is not allowed. Without context: a confident guess at one; or an unsure guess, on a page that
            -- declares one.
            WHEN len(config.languages) > 0
                AND CASE
                    WHEN config.language_context
                        THEN NOT (is_undetermined AND config.undetermined = 'keep')
                            AND NOT list_contains(config.languages, language)
                    WHEN language_probability >= config.language_min_probability
                        THEN NOT list_contains(config.languages, language)
                    ELSE declared_language <> '' AND NOT list_contains(config.languages, declared_language)
                END
                THEN 'language_not_allowed'
            -- The text holds a term of a blocklist, or a pattern is found in it.
            WHEN blocked_term IS NOT NULL
                THEN 'text_blocked'
            -- The classifier takes the text for profane.
            WHEN profanity_probability > config.max_profanity_probability
                THEN 'text_profane'
        END AS reason,
        unsafe.*, captions.repeat, captions.repeat_found, captions.repeat_of,
        config.min_characters, config.min_words, config.max_characters, config.languages,
        config.language_min_probability, config.max_profanity_probability, config.max_texts_on_page,
        config.max_site_images_per_text, captions.image_texts, captions.image_pages, captions.of_pages,
        config.max_site_texts_per_image, config.max_site_page_share
    FROM unsafe LEFT JOIN captions ON captions.row = unsafe.row CROSS JOIN config
)
SELECT
    row,
    reason,
    CASE
        WHEN reason = 'url_invalid' THEN json_object('host', host_name, 'url_characters', length(url))
        WHEN reason = 'url_scheme_not_allowed' THEN json_object('scheme', scheme)
        WHEN reason = 'url_private' THEN json_object('host', host_name)
        WHEN reason = 'domain_blocked' THEN json_object(
            'blocked_domain', blocked_domain.entry,
            'list', blocked_domain.list,
            'category', blocked_domain.category
        )
        WHEN reason = 'address_unsafe' THEN json_object('found', unsafe_address)
        WHEN reason = 'page_error' THEN json_object('page_status', page_status)
        WHEN reason = 'page_noai' THEN json_object(
            'page_noai', page_noai, 'signal', 'robots meta or X-Robots-Tag', 'value', 'noai', 'place', 'page'
        )
        WHEN reason = 'page_tdm_reserved' THEN json_object(
            'page_tdm_reserved', page_tdm_reserved, 'signal', 'tdm-reservation', 'value', '1', 'place', 'page'
        )
        WHEN reason = 'page_content_signal' THEN json_object(
            'signal', 'Content-Signal', 'value', page_content_signal, 'place', 'header'
        )
        WHEN reason = 'page_content_usage' THEN json_object(
            'signal', 'Content-Usage', 'value', page_content_usage, 'place', 'header'
        )
        WHEN reason IN ('page_rsl_prohibited', 'page_rsl_payment_required', 'page_rsl_unreadable')
            THEN json_object('signal', 'RSL', 'value', page_rsl, 'place', 'page')
        WHEN reason = 'page_wish_unreadable' THEN unreadable_wish
        WHEN reason = 'personal_data'
            THEN json_object('kinds', list_sort(list_distinct(personal_data)), 'places', len(personal_data))
        WHEN reason = 'text_too_short' THEN json_object(
            'characters', characters, 'min_characters', min_characters, 'words', words, 'min_words', min_words
        )
        WHEN reason = 'text_too_long' THEN json_object('characters', characters, 'max_characters', max_characters)
        WHEN reason = 'text_repeats_on_site' THEN json_object(
            'repeat', repeat, 'images', repeat_found, 'of_images', repeat_of,
            'max_site_images_per_text', max_site_images_per_text
        )
        WHEN reason = 'text_is_filename' THEN json_object('is_filename', is_filename)
        WHEN reason = 'image_is_stand_in' AND has_texts_on_page
            THEN json_object('texts_on_page', texts_on_page, 'max_texts_on_page', max_texts_on_page)
        WHEN reason = 'image_is_stand_in' AND has_site_texts
            THEN json_object('texts_on_site', image_texts, 'max_site_texts_per_image', max_site_texts_per_image)
        WHEN reason = 'text_is_interface' AND is_on_most_pages THEN json_object(
            'pages', image_pages, 'of_pages', of_pages, 'max_site_page_share', max_site_page_share
        )
        WHEN reason IN (
            'image_is_stand_in', 'text_is_interface', 'image_is_avatar', 'image_is_logo', 'image_is_advertisement',
            'text_is_credit', 'text_is_code'
        ) THEN json_object('found', not_caption.found)
        WHEN reason = 'language_not_allowed' THEN json_object(
            'language', language,
            'language_probability', round(language_probability::DOUBLE, 4),
            'language_min_probability', language_min_probability,
            'page_language', page_language,
            'languages', languages
        )
        WHEN reason = 'text_blocked' THEN json_object(
            'blocked_term', blocked_term.term,
            'list', blocked_term.list,
            'language', blocked_term.language
        )
        WHEN reason = 'text_profane'
            THEN json_object(
                'profanity_probability', round(profanity_probability::DOUBLE, 4),
                'max_profanity_probability', max_profanity_probability
            )
    END::VARCHAR AS evidence
FROM judged
WHERE reason IS NOT NULL
ORDER BY row
