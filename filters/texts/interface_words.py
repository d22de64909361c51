"""Words that label what can be clicked, in the languages of most pages; as whole texts they are no captions.

General terms of user interfaces, not of any one site; a word that often names what is in a picture (*map*, *bag*) is
none of them.
"""

from __future__ import annotations

NETWORKS = (
    r"facebook|twitter|instagram|youtube|linkedin|pinterest|whatsapp|xing|telegram|tiktok|flickr|tumblr|reddit|snapchat"
    r"|google ?\+|rss"
)
"""RE2. Social networks, whose marks stand on every second page."""

_LABELS = """
    home; homepage; start; startseite; inicio; accueil
    menu; menü; navigation; navigationsmenü; search; suchen?; buscar; rechercher?
    close; schließen; cerrar; fermer; open; next; previous; prev; back; zurück; weiter; vor; forward
    up; down; top; nach oben
    log ?in; log ?out; sign in; sign up; register; registrieren; anmelden
    share; teilen; compartir; partager; condividi; tweet; like; print; drucken; imprimir; imprimer; e-?mail; mail
    newsletter; subscribe; abonnieren; download; play; pause; stop; mute; video; audio
    icon; logo; image; picture; photo; foto; bild; imagen; thumbnail; banner
    advertisement; advertising; ad; anzeige; werbung; publicidad; publicité
    loading; please wait; read more; more; mehr; mehr lesen; weiterlesen; leer más; lire la suite; click here
    zoom; enlarge; vergrößern; edit; delete; add; remove; settings; einstellungen; help; hilfe
    about; about us; über uns; contact; contact us; kontakt; contacto; impressum; datenschutz; privacy; faq
    shop; cart; warenkorb; wishlist; merkzettel; user; admin; avatar; profile; profil; default; untitled; unknown
    no image; image not available; kein bild; placeholder
"""
LABELS = "|".join(label.strip() for line in _LABELS.strip().splitlines() for label in line.split(";"))
"""RE2. Labels of buttons, links and fields, in lower case."""
