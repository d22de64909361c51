"""Public lists of domains that may be fetched for `text.blocked_domains`; none of them is shipped."""
