"""Regular expressions for tests: known traps, and random ones."""

from __future__ import annotations

import random
from collections.abc import Iterator

import re2

#: Patterns in which engines differ, and texts that show it.
TRAPS: list[tuple[str, list[str]]] = [
    ("", ["", "a", "\n"]),
    ("^$", ["", "\n", "a"]),
    ("^", ["", "\n", "a"]),
    ("a$", ["a", "a\n", "a\r\n", "ba", "a\na", "ab"]),
    ("[ab]$", ["a", "a\n", "a\r\n", "b\n\n", "ba", "ab\x85", "ab\u2028"]),
    (r"[ab]\z", ["a", "a\n", "a\r\n", "ba"]),
    ("(?m)^[ab]$", ["a", "a\n", "c\nb", "c\na\nd", "c\r\na\r\nd", "c\ra", "c\u2028a", "x a"]),
    (r"(?m)\A[ab]\z", ["a", "c\na", "a\n"]),
    ("(?m)^$", ["", "a", "a\n", "a\n\nb", "\na"]),
    ("a.c", ["abc", "a\nc", "a\rc", "a\u2028c", "aéc", "a🎈c", "ac", "a\x85c"]),
    ("(?s)a.c", ["abc", "a\nc", "a\r\nc"]),
    ("a[^b]c", ["abc", "a\nc", "axc", "aéc"]),
    ("^..$", ["é", "éé", "🎈", "🎈🎈", "e\u0301", "ab"]),
    (r"\bfoo\b", ["foo", "a foo b", "foobar", "éfoo", "fooé", "foo_", "foo-", "\nfoo\n"]),
    (r"\Bfoo\B", ["foo", "afoob", "afoo", "_foo_", "éfooé"]),
    (r"\b", ["", "a", " ", "é", "_"]),
    (r"\B", ["", "a", " ", "ab", "é", "aéc", "a🎈c"]),
    (r"(?:\B|x)a?$", ["", "a", "é", "aé", "aéc"]),
    (r"a?\B|\bxx", ["a", "a-", "aéc", "a-c"]),
    (r"^\w+$", ["abc", "ABC_09", "é", "ß", "a-b", "٣", ""]),
    (r"^\d+$", ["12", "٣", "1a", "²"]),
    (r"^\s$", [" ", "\t", "\v", "\f", "\r", "\n", "\u00a0", "\u2003", "\x85"]),
    (r"^\S$", ["a", " ", "\v", "\u00a0", "é"]),
    (r"^[\D\s]+$", ["ab", "1", " ", "٣"]),
    (r"^\W$", ["é", "a", "-", "_", "\n"]),
    (r"^\pL+$", ["aé", "ß", "日本", "1", "🎈", "ǅ"]),
    (r"^\PL$", ["a", "1", "🎈", "\n"]),
    (r"^\p{^L}$", ["a", "1"]),
    (r"^\p{Greek}+$", ["αβγ", "abc", "µ", "ά"]),
    (r"^[\p{Lu}\d]+$", ["É1", "é", "A9", "Σ"]),
    (r"^[^\pL\d]$", ["-", "a", "é", "5", "🎈", "\n"]),
    (r"^[[:alpha:]]+$", ["abc", "é", "ß", "a1"]),
    (r"^[[:^alpha:]]$", ["a", "é", "1", "\n"]),
    (r"^[[:word:][:space:]]+$", ["a b_1", "é", "\v", "-"]),
    (r"^[[:punct:]]$", ["!", "_", "a", "«", "$"]),
    (r"(?i)^K$", ["k", "K", "\u212a", "κ"]),
    (r"(?i)^\x{212a}$", ["k", "K", "\u212a"]),
    (r"(?i)^straße$", ["straße", "STRAẞE", "STRASSE", "strasse", "ſtraße"]),
    (r"(?i)^é$", ["é", "É", "e", "e\u0301"]),
    (r"(?i)^σ$", ["σ", "ς", "Σ", "s"]),
    (r"(?i)^i$", ["i", "I", "İ", "ı"]),
    (r"(?i)^ǆ$", ["ǆ", "ǅ", "Ǆ"]),
    (r"(?i)^[j-l]$", ["J", "k", "\u212a", "L", "m"]),
    (r"(?i)^[^j-l]$", ["J", "k", "\u212a", "L", "m"]),
    (r"(?i)^\w$", ["ſ", "\u212a", "s", "é"]),
    (r"(?i)^\W$", ["ſ", "\u212a", "s", "é"]),
    (r"(?i)^\p{Lu}$", ["a", "A", "é", "1", "ß"]),
    (r"(?i)^\P{Lu}$", ["a", "A", "é", "1", "ß"]),
    ("a(?i)b|c", ["ab", "aB", "AB", "C", "c"]),
    ("a(?i-i:b)(?m-m)c[d]", ["abcd", "aBcd"]),
    ("a(?i:b)c", ["abc", "aBc", "aBC"]),
    ("(?i)a(?-i)b", ["Ab", "AB", "ab"]),
    ("(a(?i)b)c", ["aBc", "aBC"]),
    ("(?i)Grüße", ["GRÜSSE", "grüße", "GRÜẞE"]),
    ("[Aa]b", ["ab", "Ab", "AB", "aB"]),
    (r"[\]\-^\\]", ["]", "-", "^", "\\", "a"]),
    ("[]a]b", ["]b", "ab", "b"]),
    ("[^]a]b", ["]b", "ab", "xb"]),
    ("[a-c-e]+$", ["-", "d", "e", "b"]),
    ("[--/]", ["-", ".", "/", "0"]),
    ("[a&&b]x", ["&x", "ax", "bx", "x"]),
    ("[[a]x", ["[x", "ax", "x"]),
    ("[[:a]x", ["[x", ":x", "ax", "bx"]),
    ("[[=a=][.b.]]", ["=]", ".]", "a]", "[]"]),
    ("[~!@#$%&*_+=|'\"<>?,;`{} ]x", ["~x", "'x", "%x", "{x", " x", "ax", "%s"]),
    (r"\Qa.b*\E+$", ["a.b*", "a.b**", "axb", "a.bb"]),
    (r"\x41\x{e9}\101\12?\.[a]", ["AéA.a", "AéA\n.a", "AéAxa"]),
    (r"[\a\f\v\t]", ["\a", "\f", "\v", "\t", "a", "v"]),
    (r"^[\x{1F388}-\x{1F38A}]$", ["🎈", "🎊", "🎋", "a"]),
    (r"[\x{10000}-\x{10FFFF}]", ["a", "é", "\uffff", "𐀀", "🎈"]),
    (r"[^\x{0}-\x{10FFFF}]", ["", "a"]),
    (r"\x{D800}|b", ["a", "b"]),
    (r"[\x00-b]x", ["ax", "bx", "cx"]),
    (r"[^\x00]x", ["ax", "x"]),
    (r"a\x00?b", ["ab", "a"]),
    ("^(|a)+$", ["", "a", "aaa", "b"]),
    ("^(a|)*b$", ["b", "ab", "aab", "a"]),
    ("^(?:a|b|)c", ["c", "ac", "bc", "dc"]),
    ("x||y", ["", "x", "a"]),
    ("^(a*)*$", ["", "aa", "ab"]),
    ("^(a*)+b$", ["b", "aab", "a"]),
    ("^(a?){3}$", ["", "aa", "aaa", "aaaa"]),
    ("^((a|b)*c)*$", ["", "abc", "abcac", "ab"]),
    (r"^(\b|a)*$", ["", "a", "aa", "ab"]),
    (r"^(\b|a){3}$", ["", "a", "aa", "aaa"]),
    ("(?:^|,)a(?:,|$)", ["a", "b,a", "a,b", "ba", "b,a,c", "a\n"]),
    ("^*a", ["a", "ba"]),
    ("(?:$)+a?", ["a", ""]),
    ("a(?i)*B$", ["aab", "AB", "b"]),
    ("^a{3}$", ["aa", "aaa", "aaaa"]),
    ("^a{2,}$", ["a", "aa", "aaa"]),
    ("^a{0}b$", ["b", "ab"]),
    ("^(ab){1,2}?$", ["ab", "abab", "ababab"]),
    ("^a{255}$", ["a" * 254, "a" * 255, "a" * 256]),
    ("^a{256}$", ["a" * 255, "a" * 256, "a" * 257]),
    ("^a{300,}$", ["a" * 299, "a" * 300, "a" * 999]),
    ("^a{3,600}$", ["aa", "aaa", "a" * 600, "a" * 601]),
    ("^a{500,700}$", ["a" * 499, "a" * 500, "a" * 700, "a" * 701]),
    ("^a{0,1000}$", ["", "a" * 1000, "a" * 1001]),
    ("^a{1000}$", ["a" * 999, "a" * 1000]),
    ("^(?:ab){510}$", ["ab" * 510, "ab" * 509]),
    ("^(?:a{10}){100}$", ["a" * 1000, "a" * 990]),
    ("a{,3}", ["a", "a{,3}"]),
    ("a{01}", ["a", "a{01}"]),
    ("a{9999999999}", ["a", "a{9999999999}"]),
    ("x{", ["x", "x{"]),
    ("(?U)^a+?$", ["a", "aa", ""]),
    ("(?P<n>a)(?<m>b)[c]", ["abc", "ab"]),
    ("(?)a[b]", ["ab"]),
    (".*@enterprise.com", ["a@enterprise.com", "@enterprise com", "x@enterprise\ncom", "a@enterprise.co"]),
    (".*abc.*", ["abc", "x\nabc\ny", "ab"]),
    ("^.*abc", ["abc", "x\nabc", "xabc"]),
    ("a+b+", ["ab", "aabb", "ba"]),
    ("a#b [c]", ["a#b c", "a"]),
    (r"\*\*\*=a[b]", ["***=ab", "ab"]),
    (r"\(\?i\)a[b]", ["(?i)ab", "AB"]),
    ("%_[!]", ["%_!", "ab!"]),
    ("^%_!\\\\", ["%_!\\", "ab!\\"]),
    ("^[*]a?b", ["*b", "*ab", "b"]),
    (r"^\*\?\[", ["*?[", "ab["]),
]
LETTERS = "aAbk1_- \n\r.é\u212aKsſß🎈"
_ATOMS = [
    *"aAbk1_.é-",
    "s",
    "🎈",
    "ß",
    r"\n",
    " ",
    "[ab]",
    "[^a]",
    r"[^\n]",
    r"[\w-]",
    "[A-k]",
    r"\w",
    r"\W",
    r"\d",
    r"\s",
    r"\pL",
    r"\PL",
    r"[[:upper:]é]",
    "^",
    "$",
    r"\b",
    r"\B",
    r"\A",
    r"\z",
    "",
]
_QUANTIFIERS = ["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{2,3}", "{0}"]
_GROUPS = ["(", "(?:", "(?i:", "(?s:", "(?m:", "(?ms-i:", "(?U:", "(?P<g%d>"]


class Author:
    """Writes random patterns and texts."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.groups = 0

    def text(self) -> str:
        return "".join(self.random.choices(LETTERS, k=self.random.randint(0, 6)))

    def patterns(self, count: int) -> Iterator[str]:
        """Patterns that RE2 takes."""
        options = re2.Options()
        options.log_errors = False
        while count:
            pattern = self.pattern()
            try:
                re2.compile(pattern, options)
            except re2.error:
                continue
            count -= 1
            yield pattern

    def pattern(self, depth: int = 0) -> str:
        options = [self.sequence(depth) for _ in range(self.random.choice([1, 1, 1, 2, 3]))]
        flags = self.random.choice(["(?i)", "(?m)", "(?s)", "(?im)"]) if self.random.random() < 0.15 else ""
        return flags + "|".join(options)

    def sequence(self, depth: int) -> str:
        return "".join(self.item(depth) for _ in range(self.random.choice([0, 1, 1, 2, 3])))

    def item(self, depth: int) -> str:
        if depth < 3 and self.random.random() < 0.3:
            self.groups += 1
            opening = self.random.choice(_GROUPS)
            atom = f"{opening.replace('%d', str(self.groups))}{self.pattern(depth + 1)})"
        else:
            atom = self.random.choice(_ATOMS)
        return atom + self.random.choice(_QUANTIFIERS) if atom and self.random.random() < 0.35 else atom
