//! Owns the order of tokens: precedence, brackets, calls.
//!
//! Leaves meaning to `check`. It descends recursively, one level for each bracket or `?:`, and counts
//! the levels. Invariant: it stops at the first problem, and a node is only made when its depth is
//! within the limit.

use super::lexer::{Lexer, Token, is_reserved};
use super::{DEPTH_MAX, EXPRESSION_BYTES_MAX, Expr, Kind, Relation};
use crate::Problem;
use std::ops::Range;

/// Parses a whole text.
pub(crate) fn parse(text: &str) -> Result<Expr, Problem> {
    let mut parser = Parser::new(text, 0)?;
    let expression = parser.expression()?;
    match parser.token {
        Token::End => Ok(expression),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

/// Parses the expression that begins at `start`, up to its closing brace; returns where the text
/// goes on.
pub(crate) fn parse_braced(text: &str, start: usize) -> Result<(Expr, usize), Problem> {
    let mut parser = Parser::new(text, start)?;
    let expression = parser.expression()?;
    match parser.token {
        Token::Sign("}") => Ok((expression, parser.span.end)),
        Token::End => Err(Problem::new(start - 1..start, "this `{` is not closed")
            .help("write `{{` for a brace that stands for itself")),
        _ => Err(parser.unexpected("an operator or `}`")),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    text: &'a str,
    /// The token that is looked at, and its place.
    token: Token,
    span: Range<usize>,
    /// Where the token before it ended.
    previous_end: usize,
    nesting: u16,
}

type Parsed = Result<Expr, Problem>;

impl<'a> Parser<'a> {
    fn new(text: &'a str, start: usize) -> Result<Self, Problem> {
        if text.len() > EXPRESSION_BYTES_MAX {
            let message = format!(
                "{} bytes are too long for an expression, {EXPRESSION_BYTES_MAX} are allowed",
                text.len()
            );
            return Err(
                Problem::new(0..0, message).help("put long lists of values in a list or a map")
            );
        }
        let mut lexer = Lexer::new(text, start);
        let (token, span) = lexer.next()?;
        Ok(Self { lexer, text, token, span, previous_end: start, nesting: 0 })
    }

    fn advance(&mut self) -> Result<Token, Problem> {
        self.previous_end = self.span.end;
        let (token, span) = self.lexer.next()?;
        self.span = span;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn eat(&mut self, sign: &str) -> Result<bool, Problem> {
        let found = matches!(&self.token, Token::Sign(found) if *found == sign);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn node(&self, kind: Kind, start: usize) -> Parsed {
        let span = start..self.previous_end;
        let depth = 1 + kind.children().map(|child| child.depth).max().unwrap_or(0);
        if depth > DEPTH_MAX { Err(too_deep(span)) } else { Ok(Expr { kind, span, depth }) }
    }

    fn expression(&mut self) -> Parsed {
        self.nesting += 1;
        if self.nesting > DEPTH_MAX {
            return Err(too_deep(self.span.clone()));
        }
        let start = self.span.start;
        let condition = self.any()?;
        let expression = if self.eat("?")? {
            let yes = self.any()?;
            if !self.eat(":")? {
                return Err(self.unexpected("`:`, which separates the two values of `?`"));
            }
            let no = self.expression()?;
            self.node(Kind::If(Box::new([condition, yes, no])), start)?
        } else {
            condition
        };
        self.nesting -= 1;
        Ok(expression)
    }

    fn any(&mut self) -> Parsed {
        self.chain("||", Kind::Any, Self::all)
    }

    fn all(&mut self) -> Parsed {
        self.chain("&&", Kind::All, Self::relation)
    }

    /// One operand, or several with the same sign between them.
    fn chain(
        &mut self,
        sign: &str,
        kind: fn(Vec<Expr>) -> Kind,
        operand: fn(&mut Self) -> Parsed,
    ) -> Parsed {
        let start = self.span.start;
        let first = operand(self)?;
        let mut operands = Vec::new();
        while self.eat(sign)? {
            operands.push(operand(self)?);
        }
        if operands.is_empty() {
            return Ok(first);
        }
        operands.insert(0, first);
        self.node(kind(operands), start)
    }

    fn relation(&mut self) -> Parsed {
        let start = self.span.start;
        let mut left = self.sum()?;
        while let Some(relation) = relation(&self.token) {
            self.advance()?;
            let right = self.sum()?;
            let kind = Kind::Relation { relation, left: Box::new(left), right: Box::new(right) };
            left = self.node(kind, start)?;
        }
        Ok(left)
    }

    fn sum(&mut self) -> Parsed {
        let sum = self.chain("+", Kind::Sum, Self::unary)?;
        match &self.token {
            Token::Sign(sign @ ("-" | "*" | "/" | "%")) => {
                Err(Problem::new(self.span.clone(), format!("`{sign}` is not supported"))
                    .help("expressions compare and join strings, they do not calculate"))
            }
            _ => Ok(sum),
        }
    }

    fn unary(&mut self) -> Parsed {
        let start = self.span.start;
        let mut signs = 0_usize;
        while self.eat("!")? {
            signs += 1;
        }
        if signs > 0 {
            let operand = self.member()?;
            let operand = self.node(Kind::Not(Box::new(operand)), start)?;
            // Two of them are none, and change nothing but the type that is asked for.
            return if signs % 2 == 1 {
                Ok(operand)
            } else {
                self.node(Kind::Not(Box::new(operand)), start)
            };
        }
        if !self.eat("-")? {
            return self.member();
        }
        let number = match self.token {
            Token::Int(magnitude) => 0_i64.checked_sub_unsigned(magnitude).map(Kind::Int),
            Token::Float(value) => Some(Kind::Float(-value)),
            _ => {
                return Err(Problem::new(start..start + 1, "only a number can have a sign")
                    .help("expressions compare and join strings, they do not calculate"));
            }
        };
        self.advance()?;
        match number {
            Some(kind) => self.node(kind, start),
            None => Err(Problem::new(start..self.previous_end, "the number is too large")),
        }
    }

    fn member(&mut self) -> Parsed {
        let start = self.span.start;
        let mut operand = self.primary()?;
        loop {
            if self.eat(".")? {
                let field_span = self.span.clone();
                let Token::Word(field) = &self.token else {
                    return Err(self.unexpected("a name after `.`"));
                };
                let field = field.clone();
                self.advance()?;
                let open = self.span.clone();
                let kind = if self.eat("(")? {
                    let arguments = self.list(")", open)?;
                    let target = Some(Box::new(operand));
                    Kind::Call { target, name: field, name_span: field_span, arguments }
                } else {
                    Kind::Select { operand: Box::new(operand), field, field_span }
                };
                operand = self.node(kind, start)?;
            } else if matches!(self.token, Token::Sign("[")) {
                let open = self.span.clone();
                self.advance()?;
                let key = Box::new(self.expression()?);
                self.close("]", open)?;
                operand = self.node(Kind::Index { operand: Box::new(operand), key }, start)?;
            } else {
                return Ok(operand);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let span = self.span.clone();
        let kind = match &self.token {
            Token::Text(value) => Kind::Text(value.clone()),
            Token::Int(value) => match i64::try_from(*value) {
                Ok(value) => Kind::Int(value),
                Err(_) => return Err(Problem::new(span, "the number is too large")),
            },
            Token::Float(value) => Kind::Float(*value),
            Token::Word(word) => return self.word(word.clone()),
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.expression()?;
                self.close(")", span)?;
                return Ok(inner);
            }
            Token::Sign("[") => {
                self.advance()?;
                let elements = self.list("]", span.clone())?;
                return self.node(Kind::List(elements), span.start);
            }
            Token::Sign("{") => return Err(Problem::new(span, "maps are not supported")),
            _ => return Err(self.unexpected("a value")),
        };
        self.advance()?;
        self.node(kind, span.start)
    }

    fn word(&mut self, word: String) -> Parsed {
        let span = self.span.clone();
        let kind = match word.as_str() {
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            "null" => {
                return Err(Problem::new(span, "`null` is not supported")
                    .help("what is missing is the empty string: \"\""));
            }
            "not" => {
                return Err(Problem::new(span, "`not` is not an operator").help("write `!`"));
            }
            word if is_reserved(word) => {
                return Err(Problem::new(span, format!("`{word}` is a reserved word")));
            }
            _ => {
                self.advance()?;
                let open = self.span.clone();
                if self.eat("(")? {
                    let arguments = self.list(")", open)?;
                    let kind =
                        Kind::Call { target: None, name: word, name_span: span.clone(), arguments };
                    return self.node(kind, span.start);
                }
                return self.node(Kind::Name(word), span.start);
            }
        };
        self.advance()?;
        self.node(kind, span.start)
    }

    /// Expressions with commas between them, up to a closing bracket.
    fn list(&mut self, closing: &'static str, open: Range<usize>) -> Result<Vec<Expr>, Problem> {
        let mut elements = Vec::new();
        while !matches!(self.token, Token::Sign(sign) if sign == closing) {
            if matches!(self.token, Token::End) {
                return Err(unclosed(self.text, open));
            }
            elements.push(self.expression()?);
            if !self.eat(",")? {
                break;
            }
            // CEL allows a comma after the last element of a list, not after the last argument.
            if closing == ")" && matches!(self.token, Token::Sign(")")) {
                return Err(self.unexpected("a value"));
            }
        }
        self.close(closing, open)?;
        Ok(elements)
    }

    fn close(&mut self, closing: &str, open: Range<usize>) -> Result<(), Problem> {
        if self.eat(closing)? {
            return Ok(());
        }
        match self.token {
            Token::End => Err(unclosed(self.text, open)),
            _ => Err(self.unexpected(&format!("an operator or `{closing}`"))),
        }
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        let found = match &self.token {
            Token::End => "the end".to_owned(),
            _ => format!("`{}`", &self.text[self.span.clone()]),
        };
        let problem = Problem::new(self.span.clone(), format!("expected {wanted}, found {found}"));
        match &self.token {
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "and" => problem.help("write `&&`"),
                "or" => problem.help("write `||`"),
                "is" | "eq" | "equals" => problem.help("write `==`"),
                "ne" => problem.help("write `!=`"),
                "startswith" | "endswith" | "contains" | "matches" => {
                    problem.help(format!("write `.{word}(…)` after the value"))
                }
                _ => problem,
            },
            _ => problem,
        }
    }
}

impl Kind {
    pub(super) fn children(&self) -> Box<dyn Iterator<Item = &Expr> + '_> {
        match self {
            Self::Text(_) | Self::Int(_) | Self::Float(_) | Self::Bool(_) | Self::Name(_) => {
                Box::new(std::iter::empty())
            }
            Self::Select { operand, .. } | Self::Not(operand) => Box::new([&**operand].into_iter()),
            Self::Index { operand, key: other } => Box::new([&**operand, &**other].into_iter()),
            Self::Relation { left, right, .. } => Box::new([&**left, &**right].into_iter()),
            Self::Call { target, arguments, .. } => {
                Box::new(target.as_deref().into_iter().chain(arguments))
            }
            Self::List(all) | Self::All(all) | Self::Any(all) | Self::Sum(all) => {
                Box::new(all.iter())
            }
            Self::If(all) => Box::new(all.iter()),
        }
    }
}

fn relation(token: &Token) -> Option<Relation> {
    match token {
        Token::Sign("==") => Some(Relation::Equal),
        Token::Sign("!=") => Some(Relation::NotEqual),
        Token::Sign("<") => Some(Relation::Less),
        Token::Sign("<=") => Some(Relation::LessOrEqual),
        Token::Sign(">") => Some(Relation::Greater),
        Token::Sign(">=") => Some(Relation::GreaterOrEqual),
        Token::Word(word) if word == "in" => Some(Relation::In),
        _ => None,
    }
}

fn too_deep(span: Range<usize>) -> Problem {
    Problem::new(span, format!("the expression nests deeper than {DEPTH_MAX} levels"))
        .help("give parts of it names under `conditions`")
}

fn unclosed(text: &str, open: Range<usize>) -> Problem {
    let message = format!("this `{}` is not closed", &text[open.clone()]);
    Problem::new(open, message)
}
