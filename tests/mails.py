"""Every template of a message, filled in as a patient would get it, and the rules a mail has to keep: a small linter
for what mail programs show, what screen readers need, and what may not be in a letter from a clinic."""

import re
from datetime import date
from html.parser import HTMLParser

from django.template.loader import render_to_string
from django.utils import translation

from clinic import clock, languages
from clinic.models import Site
from clinic.models.rules import PREPARE
from clinic.text import unbroken, wrapped
from dev import PROJECT

TEMPLATES = {
    path.name.removesuffix(".subject.txt"): path.parts[-3]
    for app in ("scheduling", "followup")
    for path in sorted((PROJECT / app / "templates" / app / "mail").glob("*.subject.txt"))
}
NAMES = list(TEMPLATES)
TEXTED = {path.name for app in ("scheduling", "followup") for path in (PROJECT / app).rglob("mail/*.sms.txt")}
BY_SMS = [name for name in NAMES if f"{name}.sms.txt" in TEXTED]
BASE, SECRET = "https://clinic.example.org", "N9x-" + "aZ3_" * 9 + "k7Q"
AT = clock.at_local(
    date(2026, 9, 23), clock.time(14, 30), "America/Chicago"
)  # a Wednesday, with a long name everywhere
MARTA = {"given_name": "Marta", "family_name": "Reyes"}


def context(language, **changed):
    link = {page: f"{BASE}/w/{SECRET}/{page}/" for page in ("accept", "decline", "leave", "offer")}
    return {
        "patient": MARTA,
        "site": Site(name="Lakeside Clinic", phone="+1 312 555 0142", address="Street 1"),
        "when": clock.spoken(AT, "America/Chicago", language),
        "soon": clock.spoken_shortly(AT, "America/Chicago", language),
        "has": clock.spoken(AT, "Europe/Berlin", language),
        "until_soon": clock.spoken_shortly(AT, "America/Chicago", language),
        "first": date(2026, 9, 23),
        "last": date(2026, 11, 25),
        "link": f"{BASE}/s/{SECRET}/",
        "answer": f"{BASE}/v/{SECRET}/",
        "choose": f"{BASE}/p/{SECRET}/",
        "prepare": languages.shipped(PREPARE, otherwise="en"),
        "advice": languages.shipped("Desk work is fine. Lift at most 5 kg.", otherwise="en"),
        **link,
        **changed,
    }


def written(name, language, **changed):
    """As `messages.Kind` puts it together."""
    app = TEMPLATES[name]
    with translation.override(language):
        until = date(2026, 9, 23) if app == "followup" else clock.spoken(AT, "America/Chicago", language)
        said = context(language, **{"until": until, **changed})
        said["subject"] = " ".join(render_to_string(f"{app}/mail/{name}.subject.txt", said).split())
        mail = {end: render_to_string(f"{app}/mail/{name}.{end}", said) for end in ("txt", "html")}
        sms = f"{app}/mail/{name}.sms.txt"
        texted = " ".join(render_to_string(sms, said).split()) if name in BY_SMS else ""
    return {
        "subject.txt": said["subject"],
        "txt": wrapped(mail["txt"].strip()) + "\n",
        "html": unbroken(mail["html"]),
        "sms": texted,
    }


# The rules

VOID = {"meta", "br"}
KNOWN = {"html", "head", "title", "body", "div", "h1", "h2", "p", "a", "strong", "span", "bdi", "ul", "li", *VOID}
ATTRIBUTES = {"lang", "dir", "charset", "name", "content", "style", "role", "href"}
STYLES = {"margin", "padding", "font", "font-size", "line-height", "max-width", "display", "border-radius"}
STYLES |= {"background", "color"}
SAYS_NOTHING = re.compile(r"^(click )?(here|link|more|this)$", re.IGNORECASE)
# What a subject, which others can read over a shoulder, may not give away.
TELLS_TOO_MUCH = re.compile(
    r"inject|inyec|injeç|injekt|enjek|حقن|\bdis[ck]|\bcells?\b|zell|c[eé]lul|hücre|خلي|\bMR|\bIRM\b|رنين|spine|wirbel|column"
    r"|pain|schmerz|dolor|\bdor\b|douleur|ağrı|ألم|Marta|Reyes",
    re.IGNORECASE,
)


class Linter(HTMLParser):
    """Collects what is wrong with the HTML of a mail."""

    def __init__(self, language):
        super().__init__()
        self.language, self.faults, self.open, self.headings = language, [], [], []
        self.links, self.link = {}, None
        self.spoken, self.title = [], ""

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in KNOWN:
            self.faults.append(f"<{tag}> does not belong into a mail")
        if unknown := set(given) - ATTRIBUTES:
            self.faults.append(f"<{tag}> has {sorted(unknown)}")
        if tag not in VOID:
            self.open.append(tag)
        if {"lang", "dir"} & set(given):
            self.spoken.append((tag, given.get("lang"), given.get("dir")))
        if tag in ("h1", "h2"):
            self.headings.append(tag)
        if tag == "a":
            self.link = given.get("href") or ""
            self.links.setdefault(self.link, "")
            if not self.link.startswith((BASE, "tel:")):
                self.faults.append(f"a link leads to {self.link or 'nowhere'}")
        self.check_style(tag, given.get("style", ""))

    def check_style(self, tag, style):
        parts = dict(part.strip().split(":", 1) for part in style.split(";") if part.strip())
        if unknown := set(parts) - STYLES:
            self.faults.append(f"<{tag}> is styled with {sorted(unknown)}")
        if "url(" in style or "!" in style:
            self.faults.append(f"<{tag}> asks for something from elsewhere")
        colours = [parts[name].strip() for name in ("color", "background") if name in parts]
        if len(colours) == 1:
            self.faults.append(f"<{tag}> has one colour, and so none that is seen in light and dark")
        if len(colours) == 2 and contrast(*colours) < 4.5:
            self.faults.append(f"<{tag}> has a contrast of {contrast(*colours):.1f}")
        if (size := re.search(r"(\d+)px", parts.get("font-size", parts.get("font", "")))) and int(size[1]) < 16:
            self.faults.append(f"<{tag}> is written too small")

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")
        if tag == "a":
            words = " ".join(self.links[self.link].split())
            if len(words) < 4 or SAYS_NOTHING.match(words):
                self.faults.append(f"a link is called {words!r}")
            self.link = None

    def handle_data(self, data):
        if self.link is not None:
            self.links[self.link] += data
        if self.open and self.open[-1] == "title":
            self.title += data

    def finished(self):
        asked = (self.language, "rtl" if self.language == "ar" else "ltr")
        if [one[1:] for one in self.spoken if one[0] == "html"] != [asked]:
            self.faults.append("html does not say its language")
        if [one[1:] for one in self.spoken if one[0] == "div"][:1] != [asked]:
            self.faults.append("the letter does not say its language where a mail program throws html away")
        if self.headings[:1] != ["h1"] or self.headings.count("h1") != 1:
            self.faults.append("there is not one first heading")
        if len(set(self.links.values())) != len(self.links):
            self.faults.append("two links have one name")
        if not self.title.strip():
            self.faults.append("it has no title")
        return self.faults + [f"<{tag}> is left open" for tag in self.open]


def faults_of_html(html, language):
    linter = Linter(language)
    linter.feed(html)
    linter.close()
    big = [f"it has {len(html.encode())} bytes"] if len(html.encode()) >= 30_000 else []
    return linter.finished() + big


def faults_of_text(text):
    """What would not read well as plain text."""
    faults = [f"a line of {len(line)}: {line}" for line in text.split("\n") if len(line) > 78 and not is_link(line)]
    faults += [f"a link among words: {line}" for line in text.split("\n") if "://" in line and not is_link(line)]
    faults += ["three empty lines"] * ("\n\n\n\n" in text)
    faults += [f"a trailing space: {line}" for line in text.split("\n") if line != line.rstrip()]
    faults += [f"an escaped mark: {found}" for found in re.findall(r"&[#a-z0-9]+;|<[a-z/]", text)]
    return faults


def is_link(line):
    return re.fullmatch(r"https?://\S+", line) is not None


def faults_of_subject(subject):
    faults = [f"it says {found[0]}" for found in [TELLS_TOO_MUCH.search(subject)] if found]
    return (
        faults + (["it is too long"] if not 5 <= len(subject) <= 100 else []) + (["a line break"] * ("\n" in subject))
    )


def links_of(html, language):
    linter = Linter(language)
    linter.feed(html)
    return set(linter.links)


def contrast(one, other):
    """WCAG 2.2: the ratio of the luminance of two #rrggbb colours."""

    def luminance(colour):
        parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
