"""The text of a filter as a tree: cut into tokens, parsed by Python's `ast`, and only what is meant for filters let in.

Every token is replaced by a harmless one of the same length before `ast.parse` sees it: ``__`` for a name, ``0`` for a
number, an operator of the same rank for one that Python lacks (``like`` becomes ``in``, ``=`` becomes ``<``). So Python
decides on precedence and on chains, no text of the user's is ever read as Python, and positions stay true.
"""

import ast
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NoReturn

from fraudctl.errors import BadConfig
from fraudctl.pipeline.text import shown

MAX_LENGTH: Final = 4096
_MAX_DEPTH: Final = 50
_MAX_EXPONENT: Final = 1000
_WIDTH: Final = 70  # of the line above the caret
_BEFORE: Final = 40  # how much of it is shown before the caret

_SEGMENT: Final = r"(?:\w+|`[^`]+`)"
_TOKEN: Final = re.compile(
    rf"""
      (?P<space>\s+)
    | (?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<compare>(?ai:not\s+(?:in|like|ilike)|is\s+not|in|like|ilike|is)\b|<=|>=|==|!=|<>|<(?!<)|>(?!>)|=(?![<>]))
    | (?P<join>(?ai:and|or)\b)
    | (?P<not>(?ai:not)\b)
    | (?P<constant>(?ai:null|none|true|false)\b)
    | (?P<name>(?:[^\W\d]\w*|`[^`]+`)(?:\.{_SEGMENT})*)
    | (?P<open>[(\[])
    | (?P<close>[)\]])
    | (?P<comma>,)
    """,
    re.VERBOSE | re.DOTALL,
)
_VALUES: Final = {"number", "text", "constant", "name", "close"}  # what an operator may follow
_OPERATORS: Final = {"=": "==", "<>": "!="}
# What Python's grammar ranks alike, and is not longer.
_STAND_INS: Final = {"=": "<", "<>": "!=", "like": "in", "ilike": "in", "not like": "not in", "not ilike": "not in"}
_CONSTANTS: Final = {"null": None, "none": None, "true": True, "false": False}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))|(.)", re.DOTALL)
_CALCULATION: Final = "it is not possible to calculate; only to compare"
_SIGNS: Final = {
    '"': "the text is not closed",
    "'": "the text is not closed",
    "`": "the name is not closed",
    ":=": "':=' is not understood; == compares",
    "=>": "'=>' is not understood; write >=",
    "=<": "'=<' is not understood; write <=",
    "&&": "'&&' is not understood; write and",
    "||": "'||' is not understood; write or",
    "!": "'!' is not understood; write not",
    ";": "';' is not understood; a filter is one condition",
    "{": "'{' is not understood; a list is written in brackets: (1, 2)",
    ".": "'.' is not understood here",
    **dict.fromkeys(("<<", ">>", "**", "//", "+", "-", "*", "/", "%", "@", "&", "|", "^", "~"), _CALCULATION),
}
_WORDS: Final = {
    "between": "'between' is not understood; write 5 <= amount <= 10",
    "contains": """'contains' is not understood; write like "%text%" """.rstrip(),
    "matches": """'matches' is not understood; write like "Gr%" """.rstrip(),
    "regexp": """'regexp' is not understood; write like "Gr%" """.rstrip(),
    "for": "a comprehension ('for') is not understood",
    "if": "a choice ('if') is not understood",
    "lambda": "a function ('lambda') is not understood",
    "xor": "'xor' is not understood; write !=",
    "escape": "'escape' is not understood; a backslash takes % and _ literally",
}
_HINT: Final = """write it like amount > 500 and account_id in (1000000001, 1000000003) and merchant_type like "Gr%" """


@dataclass(frozen=True, slots=True)
class Text:
    """A text: its characters, and whether each was written with a backslash, which `like` takes literally."""

    value: str
    escaped: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """A value as it was written, so that a number is exact; `at` is where it begins."""

    value: Text | Decimal | bool | None
    at: int


@dataclass(frozen=True, slots=True)
class Name:
    """A field: its name and those inside it. `quoted` if it begins with a backquote."""

    path: tuple[str, ...]
    quoted: bool
    at: int


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a list, behind ``in``."""

    items: tuple[Constant, ...]
    at: int


Operand = Name | Constant | Values


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands; the operator is Python's or ``like``, ``ilike``, ``not like``, ``not ilike``."""

    left: Operand
    operator: str
    right: Operand
    at: int


@dataclass(frozen=True, slots=True)
class Negation:
    """What holds if its part does not."""

    part: "Condition"


@dataclass(frozen=True, slots=True)
class Group:
    """Conditions of which all must hold, or one; `sources` are their texts."""

    every: bool
    parts: tuple["Condition", ...]
    sources: tuple[str, ...]


Condition = Comparison | Negation | Group | Name | Constant


@dataclass(frozen=True, slots=True)
class Source:
    """What was typed, and the option it was typed for."""

    text: str
    option: str

    def error(self, what: str, at: int, hint: str = _HINT.rstrip()) -> BadConfig:
        """Return the error at a position of the text, with a caret below it."""
        # A combining character has no width, one of an East Asian script two columns.
        cells = [shown(sign) for sign in self.text]
        widths = [len(cell) if cell != sign else _columns(sign) for cell, sign in zip(cells, self.text, strict=True)]
        first = at if sum(widths) > _WIDTH else 0
        while first > 0 and sum(widths[first - 1 : at]) <= _BEFORE:
            first -= 1
        last = first
        while last < len(cells) and sum(widths[first : last + 1]) <= _WIDTH:
            last += 1
        start = "…" if first else ""
        line = start + "".join(cells[first:last]) + ("…" if last < len(cells) else "")
        caret = " " * (len(start) + sum(widths[first:at])) + "^"
        return BadConfig(f"{self.option}: {what} (column {at + 1})", hint=hint, excerpt=(line, caret))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def end(self) -> int:
        return self.at + len(self.text)

    @property
    def word(self) -> str:
        """Return an operator in lower case and with single blanks."""
        return " ".join(self.text.lower().split())


def parse(source: Source) -> Condition:
    """Return the filter as a tree; raises `BadConfig` for whatever is not one."""
    if len(source.text) > MAX_LENGTH:
        raise BadConfig(
            f"{source.option}: longer than {MAX_LENGTH:,} characters", hint="split the work: -o json can be piped on"
        )
    tokens = list(_tokens(source))
    if not tokens:
        raise source.error("the filter is empty", 0)
    _check_brackets(source, tokens)
    if tokens[-1].kind not in _VALUES:
        raise source.error(f"a field or a value is missing behind {tokens[-1].word!r}", tokens[-1].end)
    start = tokens[0].at
    signs = [" "] * len(source.text)
    for token in tokens:
        signs[token.at : token.end] = _stand_in(token)
    try:
        parsed = ast.parse("".join(signs)[start:], mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        at = start + ((error.offset or 1) - 1 if isinstance(error, SyntaxError) else 0)
        raise source.error("the filter is not understood", min(at, len(source.text))) from error
    return _Tree(source, {token.at: token for token in tokens}, start).condition(parsed.body)


def _tokens(source: Source) -> Iterator[_Token]:
    """Cut the text up and check what follows what, with better words than Python has."""
    text, at, before = source.text, 0, _Token("", "", 0)
    while at < len(text):
        found = _TOKEN.match(text, at)
        kind = (found.lastgroup or "") if found else ""
        # Behind a value, a sign is an operator.
        if found is None or (kind == "number" and found[0][0] in "+-" and before.kind in _VALUES):
            _refuse_sign(source, at)
        if kind == "number" and re.match(r"[\w.]", text[found.end() : found.end() + 1]):
            whole = re.match(r"[+-]?[\w.]*", text[at:])
            word = shown(whole[0]) if whole else ""
            raise source.error(f"{word} is not a number", at, f'a text or a time is written in quotes: "{word}"')
        if kind != "space":
            token = _Token(kind, found[0], at)
            if problem := _problem(before, token):
                raise source.error(problem, at)
            yield token
            before = token
        at = found.end()


def _refuse_sign(source: Source, at: int) -> NoReturn:
    for length in (2, 1):
        if what := _SIGNS.get(source.text[at : at + length]):
            named = what if what != _CALCULATION else f"{source.text[at : at + length]!r}: {what}"
            hint = "a name with other signs is written in backquotes: `device-id`" if what == _CALCULATION else None
            raise source.error(named, at, *([hint] if hint else []))
    raise source.error(f"'{shown(source.text[at])}' is not understood", at)


def _check_brackets(source: Source, tokens: list[_Token]) -> None:
    opened: list[_Token] = []
    negations = 0
    for token in tokens:
        negations += token.kind == "not"
        if token.kind == "open":
            opened.append(token)
        elif token.kind == "close" and (not opened or opened.pop().text + token.text not in {"()", "[]"}):
            raise source.error(f"{token.text!r} closes nothing", token.at)
        elif token.kind == "comma" and not opened:
            raise source.error("',' is not understood; and, or join conditions", token.at)
        if len(opened) > _MAX_DEPTH or negations > _MAX_DEPTH:
            raise source.error(f"nested deeper than {_MAX_DEPTH}", token.at)
    if opened:
        raise source.error(f"{opened[-1].text!r} is not closed", opened[-1].at)


def _problem(before: _Token, token: _Token) -> str | None:
    """Return what is wrong with a token behind another."""
    operand = before.kind in _VALUES
    match token.kind:
        case "number" | "text" | "constant" | "name" | "open" if operand:
            return _missing_operator(before, token)
        case "not" if operand or before.kind == "compare":
            return "'not' stands before a whole comparison"
        case "compare" | "join" | "comma" if not operand:
            return f"a field or a value is missing before {token.word!r}"
        case "close" if before.kind == "open":
            return f"nothing stands in the brackets before {token.text!r}"
        case "close" if not operand and before.kind != "comma":
            return f"a field or a value is missing before {token.text!r}"
    return None


def _missing_operator(before: _Token, token: _Token) -> str:
    for word in (token, before):
        if word.kind == "name" and word.word in _WORDS:
            return _WORDS[word.word]
    match before.kind, token.kind, token.text[0]:
        case ("name" | "close", "open", "("):
            return "a call is not understood: there are no functions"
        case (_, "open", "["):
            return "a part in brackets is not understood; fields of fields are written with dots: merchant.city"
        case ("name", "text", _) if before.end == token.at:
            return f"the prefix {before.text!r} of a text is not understood"
        case ("text", "text", _):
            return r"an operator is missing between two texts; a quote inside a text is written \" or \'"
    return f"an operator is missing before {shown(token.text[:_BEFORE])}"


def _stand_in(token: _Token) -> str:
    length = len(token.text)
    if token.kind == "number":
        return "0" * length
    if token.kind == "text" or "`" in token.text:  # what may touch a word, and must not become one with it
        return f'"{"_" * (length - 2)}"'
    if token.kind in {"name", "constant"}:
        return "_" * length
    return _STAND_INS.get(token.word, token.word).ljust(length)


class _Tree:
    """Makes the tree out of Python's, and refuses all nodes but a few."""

    def __init__(self, source: Source, tokens: dict[int, _Token], start: int) -> None:
        self._source, self._tokens, self._start = source, tokens, start
        self._operators = [token for token in tokens.values() if token.kind == "compare"]

    def condition(self, node: ast.expr) -> Condition:
        at = self._at(node)
        match node:
            case ast.BoolOp():
                parts = tuple(self.condition(part) for part in node.values)
                return Group(isinstance(node.op, ast.And), parts, tuple(self._text(part) for part in node.values))
            case ast.UnaryOp(op=ast.Not()):
                return Negation(self.condition(node.operand))
            case ast.Compare():
                return self._comparisons(node)
            case ast.Name() | ast.Constant():
                alone = self._operand(node)
                if isinstance(alone, Name) or (isinstance(alone, Constant) and isinstance(alone.value, bool)):
                    return alone
                raise self._source.error("a value alone is no condition", at)
            case _:
                raise self._source.error("a list alone is no condition", at)

    def _comparisons(self, node: ast.Compare) -> Condition:
        operands = [node.left, *node.comparators]
        found: list[Condition] = []
        for left, right in zip(operands, node.comparators, strict=False):
            # Between two operands stand one operator and brackets.
            token = next(token for token in self._operators if self._end(left) <= token.at < self._at(right))
            operator = _OPERATORS.get(token.word, token.word)
            found.append(Comparison(self._operand(left), operator, self._operand(right), token.at))
        return found[0] if len(found) == 1 else Group(every=True, parts=tuple(found), sources=())

    def _operand(self, node: ast.expr) -> Operand:
        at = self._at(node)
        match node:
            case ast.Name() | ast.Constant():
                token = self._tokens[at]
                return self._name(token) if token.kind == "name" else self._constant(token)
            case ast.Tuple() | ast.List():
                items = tuple(self._operand(item) for item in node.elts)
                constants = tuple(item for item in items if isinstance(item, Constant))
                for item in items:
                    if not isinstance(item, Constant):
                        raise self._source.error("a list has values only", item.at)
                return Values(constants, at)
            case _:
                raise self._source.error("only fields and values can be compared", at)

    @staticmethod
    def _name(token: _Token) -> Name:
        path = tuple(segment.strip("`") for segment in re.findall(_SEGMENT, token.text))
        return Name(path, token.text.startswith("`"), token.at)

    def _constant(self, token: _Token) -> Constant:
        if token.kind == "constant":
            return Constant(_CONSTANTS[token.word], token.at)
        if token.kind == "text":
            return Constant(self._unquoted(token), token.at)
        number = Decimal(token.text) if len(token.text.lower().partition("e")[2]) <= len("+1000") else None
        if number is None or (number and abs(number.adjusted()) > _MAX_EXPONENT):
            raise self._source.error(f"the number is beyond 1e{_MAX_EXPONENT}", token.at)
        return Constant(number, token.at)

    def _unquoted(self, token: _Token) -> Text:
        signs, escaped = [], []
        for found in _ESCAPE.finditer(token.text, 1, len(token.text) - 1):
            code, sign, plain = found.groups()
            if sign is not None and sign not in "\"'\\%_" and sign not in _ESCAPES:
                raise self._source.error(f"the escape \\{shown(sign)} is not understood", token.at + found.start())
            signs.append(plain or (chr(int(code, 16)) if code else _ESCAPES.get(sign, sign)))
            escaped.append(plain is None)
        return Text("".join(signs), tuple(escaped))

    def _at(self, node: ast.expr) -> int:
        return self._start + node.col_offset

    def _end(self, node: ast.expr) -> int:
        return self._start + (node.end_col_offset or 0)

    def _text(self, node: ast.expr) -> str:
        return self._source.text[self._at(node) : self._end(node)]


def _columns(sign: str) -> int:
    if unicodedata.combining(sign) or unicodedata.category(sign) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1
