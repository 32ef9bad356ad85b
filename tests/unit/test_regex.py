import pytest
import re2

from dataflow.databases.interface import Dialect
from dataflow.queries.regex import MAX_PATTERN, Literal, translate
from dataflow.queries.regex_classes import ALL, fold, named, negate, single, union
from dataflow.queries.regex_syntax import MAX_DEPTH, MAX_EMPTY_SIZE
from tests import icu
from tests.regex_patterns import TRAPS, Author

PG, MYSQL, SQLITE = Dialect.POSTGRESQL, Dialect.MYSQL, Dialect.SQLITE
WORD = "[0-9A-Z_a-z]"
EDGE = f"(?:(?<={WORD})(?!{WORD})|(?<!{WORD})(?={WORD}))"


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        ("a.c", "a[^\n]c"),
        ("(?s)a.c", "a.c"),
        ("^[ab]$", "^[ab]$"),
        ("(?m)^[ab]$", "(?<![^\n])[ab](?![^\n])"),
        (r"\A[ab]\z", "^[ab]$"),
        (r"\b[ab]", f"{EDGE}[ab]"),
        ("(?i)k1", "[Kk\u212a]1"),
        (r"x[\d.]y", r"x[\.0-9]y"),
        (r"[^\d]x", "[^0-9]x"),
        ("[ab]c|d", "(?:[ab]c|d)"),
        ("(a|b|[c-e])x", "[a-e]x"),
        (r"[\x00-b]", "[\x01-b]"),
        (r"[\x00]|ab", "(?:(?:(?!))|ab)"),
        ("xa*?b", "xa*b"),
        ("x(?:ab)+?y", "x(?:ab)+y"),
        ("x[ab]{3,}y", "x[ab]{3,}y"),
        ("xa{255}y", "xa{255}y"),
        ("xa{600}y", "x(?:a{255}){2}a{90}y"),
        ("xa{510}y", "x(?:a{255}){2}y"),
        ("xa{300,}y", "xa{255}a{45}a*y"),
        ("xa{2,600}y", "xa{2}(?:a{0,255}){2}a{0,88}y"),
        ("x(?:a+)+y", "xa+y"),
        ("x(?:a+)?y", "xa*y"),
        ("x(?:a?){30}y", "xa{0,30}y"),
        (r"x(?:\b)*[yz]", "x[yz]"),
        (".*[ab].*", "[ab]"),
        ("c{2,}[ab]d+", "c{2}[ab]d{1}"),
    ],
)
def test_written_for_postgresql(pattern, written):
    assert translate(pattern, PG) == f"***:{written}"


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        ("(?s)a.c", r"a[\x{0}-\x{10FFFF}]c"),
        ("^[ab]$", r"\A[ab]\z"),
        (r"[\x00ab]", r"[\x{0}ab]"),
        ("xa{600}y", "xa{600}y"),
        (r"[]\-^[&~]", r"[\&\-\[\]\^\~]"),
    ],
)
def test_written_for_mysql(pattern, written):
    assert translate(pattern, MYSQL) == f"(?-imsx){written}"


def test_sqlite_takes_the_pattern_itself():
    assert translate(r"(?i)a+\b", SQLITE) == r"(?i)a+\b"


@pytest.mark.parametrize("dialect", [PG, MYSQL, SQLITE])
@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        ("", Literal("", False, False)),
        (".*", Literal("", False, False)),
        ("(a|b*)+", Literal("", False, False)),
        ("abc", Literal("abc", False, False)),
        ("^abc", Literal("abc", True, False)),
        ("^abc.*", Literal("abc", True, False)),
        ("(?s)^a(b)c$", Literal("abc", True, True)),
        (r"\Q%_*\E\z", Literal("%_*", False, True)),
        (r"\x41[b]", Literal("Ab", False, False)),
        ("(?i)^12", Literal("12", True, False)),
        ("^$", Literal("", True, True)),
    ],
)
def test_literal_text(pattern, literal, dialect):
    assert translate(pattern, dialect) == literal


@pytest.mark.parametrize("pattern", ["(?m)^abc", "(?i)abc", "a^b", "a.c", "a|bc", r"a\x00", "a{2}"])
def test_no_literal_text(pattern):
    assert isinstance(translate(pattern, PG), str)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a(b", r"missing \)"),
        ("(?=a)", "invalid perl operator"),
        (r"(a)\1", "invalid escape sequence"),
        ("a**", "bad repetition operator"),
        ("a{1001}", "invalid repetition size"),
        (r"\pL{1000}", "pattern too large"),
        ("a" * (MAX_PATTERN + 1), "at most 512"),
        (r"a\Cb", "a byte"),
        ("(" * (MAX_DEPTH + 1) + ")" * (MAX_DEPTH + 1), "nested deeper"),
        ("x(a?b?){126}y", f"more than {MAX_EMPTY_SIZE}"),
        ("x(a?b?){63}(a?b?){63}y", f"more than {MAX_EMPTY_SIZE}"),
    ],
)
@pytest.mark.parametrize("dialect", [PG, MYSQL, SQLITE])
def test_refused_on_every_database(pattern, words, dialect):
    with pytest.raises(ValueError, match=words):
        translate(pattern, dialect)


def test_deepest_pattern_is_written():
    pattern = "(?:b|c(" * (MAX_DEPTH // 2) + "a" + ")+d)*" * (MAX_DEPTH // 2) + "e"
    assert isinstance(translate(f"x{pattern}", PG), str)


def test_classes():
    assert union([(5, 6), (1, 2), (3, 4), (9, 9)]) == ((1, 6), (9, 9))
    assert negate(()) == ALL
    assert negate(ALL) == ()
    assert negate(single("a")) == ((0, 96), (98, 0xD7FF), (0xE000, 0x10FFFF))
    assert named(r"\d") == ((48, 57),)
    assert named("[:xdigit:]") == ((48, 57), (65, 70), (97, 102))
    assert named(r"\p{Any}") == ALL
    assert fold(single("k")) == ((75, 75), (107, 107), (0x212A, 0x212A))
    assert fold(ALL) == ALL


EVERY = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000)))).encode()


@pytest.mark.parametrize(
    "name", [r"\pL", r"\p{Lu}", r"\p{Mn}", r"\p{Co}", r"\pC", r"\p{Cf}", r"\pN", r"\p{Han}", r"\pS"]
)
def test_named_class_is_that_of_re2(name):
    found = [
        (ord(run[0]), ord(run[-1])) for run in (m.group().decode() for m in re2.finditer(f"{name}+".encode(), EVERY))
    ]
    assert named(name) == union(found)


@pytest.mark.parametrize("letter", "aksiKSIßẞéΣςσµΜιͅǅΩωҊⅣⓐꭰᏸⴀაꙋ1-")
def test_folding_is_that_of_re2(letter):
    found = [match.group().decode() for match in re2.finditer(rf"(?i)\x{{{ord(letter):x}}}".encode(), EVERY)]
    assert fold(single(letter)) == union([(ord(other), ord(other)) for other in found])


@pytest.mark.skipif(icu.library() is None, reason="the machine has no ICU")
class TestICU:
    """What is written for MySQL means to its engine what it means to RE2."""

    @pytest.mark.parametrize("pattern", [pattern for pattern, _ in TRAPS])
    def test_traps(self, pattern):
        texts = sorted({text for _, texts in TRAPS for text in texts})
        assert icu_matches(pattern, texts) == re2_matches(pattern, texts)

    def test_random_patterns(self):
        author = Author(seed=20260201)
        texts = [author.text() for _ in range(80)]
        selective = 0
        for pattern in author.patterns(400):
            wanted = re2_matches(pattern, texts)
            assert icu_matches(pattern, texts) == wanted, pattern
            selective += 0 < len(wanted) < len(texts)
        assert selective > 150


def re2_matches(pattern, texts):
    compiled = re2.compile(pattern)
    return [text for text in texts if compiled.search(text)]


def icu_matches(pattern, texts):
    found = translate(pattern, MYSQL)
    if isinstance(found, Literal):
        return re2_matches(pattern, texts)
    compiled = icu.Pattern(found)
    return [text for text in texts if compiled.search(text)]
