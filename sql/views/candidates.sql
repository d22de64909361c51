-- One row per occurrence of an image with a text in an archive.
-- url_group: the URL without what content networks and blogs put into it to have an image in another size or format, so
-- that the variants of one image share it. It is a guess by the URL's form; every variant keeps its own URL.
SELECT
    lower(hex(pair_id)) AS pair_id,
    * EXCLUDE (pair_id),
    CASE
        -- most addresses have no sign of any of these, which is seen faster
        WHEN NOT regexp_matches(url, '[?&]|\dx|/thumb/|image/|/(?:resize|width|height)/') THEN url
        ELSE url.regexp_replace(
        -- MediaWiki: /thumb/a/ab/Cat.jpg/320px-Cat.jpg is of /a/ab/Cat.jpg
        '/thumb(/[^?#]+)/\d+px-[^/?#]+$', '\1'
    ).regexp_replace(
        -- Cloudinary and Cloudflare: a segment of transformations, /image/upload/w_300,c_fill/
        '/(image/upload|image/fetch|cdn-cgi/image)/(?:[a-z]+[_=][^/,]+)(?:,[a-z]+[_=][^/,]+)*/', '/\1/'
    ).regexp_replace(
        -- a segment that is a size, alone or with its verb: /300x200/, /fit-in/300x200/, /resize/300/
        '/(?:(?:fit-in|resize|thumb|crop|rs)/)?\d{2,4}x\d{2,4}/|/(?:resize|width|height)/\d{2,4}/', '/', 'g'
    ).regexp_replace(
        -- WordPress and Shopify: a size at the end of the name, cat-300x200.jpg, cat_300x.jpg
        '[-_]\d{2,4}x(?:\d{2,4})?(\.[A-Za-z]{3,4}(?:\?[^#]*)?)$', '\1'
    ).regexp_replace(
        -- imgix, Jetpack, Contentful, Shopify and others: parameters of size, quality and format
        '([?&])(?:w|h|width|height|size|sz|resize|fit|crop|quality|q|dpr|auto|fm|format|strip|zoom|scale|ssl)=[^&]*',
        '\1', 'g'
    ).regexp_replace('([?&])&+', '\1', 'g').regexp_replace('[?&]$', '') END AS url_group
FROM _candidates
