//! Owns tokens: where a word, a number, a string or a sign begins and ends.
//!
//! Leaves their order to the parser. Invariant: each call consumes at least one byte or ends, and a
//! token's place is on character boundaries.

use crate::Problem;
use std::ops::Range;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    /// Its magnitude: the sign is an operator.
    Int(u64),
    Float(f64),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Signs, the longer before what they begin with.
const SIGNS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", "{", "}", ".", ",", "?",
    ":", "+", "-", "*", "/", "%",
];

/// Words that CEL keeps for itself: no name may be one of them.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Whether `text` can be the name of a condition or a variable.
pub(crate) fn is_identifier(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && text.bytes().all(is_word_byte) && !is_reserved(text)
}

pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A text that is taken apart.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    position: usize,
}

type Spanned = (Token, Range<usize>);

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str, position: usize) -> Self {
        Self { text, position }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    /// The next token and its place.
    pub(super) fn next(&mut self) -> Result<Spanned, Problem> {
        self.skip_blanks();
        let start = self.position;
        let Some(first) = self.rest().chars().next() else {
            return Ok((Token::End, start..start));
        };
        if let Some(prefix) = string_prefix(self.rest()) {
            return self.string(prefix);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let word = self.take_while(is_word_byte);
            return Ok((Token::Word(word.to_owned()), start..self.position));
        }
        let is_fraction =
            self.rest().strip_prefix('.').is_some_and(|rest| rest.starts_with(is_digit));
        if first.is_ascii_digit() || is_fraction {
            return self.number();
        }
        if let Some(sign) = SIGNS.iter().find(|sign| self.rest().starts_with(**sign)) {
            self.position += sign.len();
            return Ok((Token::Sign(sign), start..self.position));
        }
        Err(stray(first, start))
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest().trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
            let comment =
                if rest.starts_with("//") { rest.find('\n').unwrap_or(rest.len()) } else { 0 };
            self.position = self.text.len() - rest.len() + comment;
            if comment == 0 {
                return;
            }
        }
    }

    fn take_while(&mut self, wanted: fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !wanted(byte)).unwrap_or(rest.len());
        self.position += length;
        &rest[..length]
    }

    fn number(&mut self) -> Result<Spanned, Problem> {
        let start = self.position;
        if self.rest().starts_with("0x") || self.rest().starts_with("0X") {
            self.position += 2;
            let digits = self.take_while(|byte| byte.is_ascii_hexdigit());
            let value = u64::from_str_radix(digits, 16).ok();
            return self.number_end(start, value.map(Token::Int));
        }
        self.take_while(|byte| byte.is_ascii_digit());
        let mut is_float = false;
        if self.rest().starts_with('.') && self.rest()[1..].starts_with(is_digit) {
            is_float = true;
            self.position += 1;
            self.take_while(|byte| byte.is_ascii_digit());
        }
        if let Some(exponent) = self.rest().strip_prefix(['e', 'E']) {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if unsigned.starts_with(is_digit) {
                is_float = true;
                self.position = self.text.len() - unsigned.len();
                self.take_while(|byte| byte.is_ascii_digit());
            }
        }
        let digits = &self.text[start..self.position];
        let value = if is_float {
            digits.parse().ok().filter(|value: &f64| value.is_finite()).map(Token::Float)
        } else {
            digits.parse().ok().map(Token::Int)
        };
        self.number_end(start, value)
    }

    fn number_end(&mut self, start: usize, value: Option<Token>) -> Result<Spanned, Problem> {
        let digits = &self.text[start..self.position];
        let tail = self.take_while(is_word_byte);
        let span = start..self.position;
        match (value, tail) {
            (Some(token), "") => Ok((token, span)),
            (Some(_), "u" | "U") => Err(Problem::new(span, "unsigned numbers are not supported")
                .help(format!("write {digits}"))),
            (Some(_), "ms" | "s" | "m" | "h" | "d") => {
                Err(Problem::new(span, "durations are not supported in expressions"))
            }
            (None, "") => Err(Problem::new(span, "the number is too large")),
            _ => Err(Problem::new(span, "not a number")),
        }
    }

    fn string(&mut self, prefix: Prefix) -> Result<Spanned, Problem> {
        let start = self.position;
        self.position += prefix.letters;
        let quote = if self.rest().starts_with(['"']) { "\"" } else { "'" };
        let triple = quote.repeat(3);
        let (quote, is_triple) =
            if self.rest().starts_with(&triple) { (triple.as_str(), true) } else { (quote, false) };
        self.position += quote.len();
        let mut value = String::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(quote) {
                self.position += quote.len();
                break;
            }
            match rest.chars().next() {
                Some('\\') if !prefix.is_raw => value.push(self.escape()?),
                Some(c) if is_triple || !matches!(c, '\n' | '\r') => {
                    value.push(c);
                    self.position += c.len_utf8();
                }
                _ => {
                    return Err(Problem::new(start..self.position, "the string is not closed")
                        .help(format!("end it with {quote}")));
                }
            }
        }
        if prefix.is_bytes {
            return Err(Problem::new(start..self.position, "bytes literals are not supported")
                .help("write a string, which is compared byte by byte"));
        }
        Ok((Token::Text(value), start..self.position))
    }

    /// An escape sequence; stands behind it afterwards.
    fn escape(&mut self) -> Result<char, Problem> {
        let start = self.position;
        let mut following = self.rest().chars().skip(1);
        let letter = following.next();
        let code = |digits: usize, radix: u32, skip: usize| {
            let text = self.rest().get(skip..skip + digits)?;
            let is_number = text.chars().all(|c| c.is_digit(radix));
            let value = is_number.then(|| u32::from_str_radix(text, radix).ok())??;
            char::from_u32(value)
        };
        let (value, length) = match letter {
            Some('n') => (Some('\n'), 2),
            Some('t') => (Some('\t'), 2),
            Some('r') => (Some('\r'), 2),
            Some('a') => (Some('\x07'), 2),
            Some('b') => (Some('\x08'), 2),
            Some('f') => (Some('\x0c'), 2),
            Some('v') => (Some('\x0b'), 2),
            Some(c @ ('\\' | '?' | '"' | '\'' | '`')) => (Some(c), 2),
            Some('x' | 'X') => (code(2, 16, 2), 4),
            Some('u') => (code(4, 16, 2), 6),
            Some('U') => (code(8, 16, 2), 10),
            Some('0'..='3') => (code(3, 8, 1), 4),
            _ => (None, 0),
        };
        if let Some(value) = value {
            self.position += length;
            return Ok(value);
        }
        let end = start + 1 + letter.map_or(0, char::len_utf8);
        let problem = Problem::new(start..end, "unknown escape sequence in the string");
        Err(problem.help(r#"write \\ for a backslash, or a raw string: r"…""#))
    }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// What stands before the quote of a string.
#[derive(Clone, Copy)]
struct Prefix {
    letters: usize,
    is_raw: bool,
    is_bytes: bool,
}

fn string_prefix(rest: &str) -> Option<Prefix> {
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (before, after) = rest.split_at_checked(letters)?;
    if !after.starts_with(['"', '\'']) {
        return None;
    }
    let (is_raw, is_bytes) = match before {
        "" => (false, false),
        "r" | "R" => (true, false),
        "b" | "B" => (false, true),
        "rb" | "rB" | "Rb" | "RB" | "br" | "bR" | "Br" | "BR" => (true, true),
        _ => return None,
    };
    Some(Prefix { letters, is_raw, is_bytes })
}

fn stray(first: char, start: usize) -> Problem {
    let span = start..start + first.len_utf8();
    let (message, help) = match first {
        '=' => ("`=` is not an operator", Some("write `==` to compare")),
        '&' => ("`&` is not an operator", Some("write `&&`")),
        '|' => ("`|` is not an operator", Some("write `||`")),
        '“' | '”' | '„' | '‘' | '’' | '«' | '»' => {
            ("not a quote that begins a string", Some("write \" or '"))
        }
        '`' => ("names in backquotes are not supported", None),
        _ => return Problem::new(span, format!("unexpected character {first:?}")),
    };
    let problem = Problem::new(span, message);
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}
