//! The tokens of JSON (RFC 8259), taken from a text one by one.

use std::borrow::Cow;

/// Where and why a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syntax {
    pub at: usize,
    pub why: &'static str,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Object,
    Array,
    Text,
    Number,
    True,
    False,
    Null,
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Lexer { text, at: 0 }
    }

    /// Line and column of a byte, counted from 1.
    pub(super) fn line_and_column(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before.get(line_start..).unwrap_or_default().chars().count() + 1)
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn wrong<T>(&self, why: &'static str) -> Result<T, Syntax> {
        Err(Syntax { at: self.at, why: if self.at < self.text.len() { why } else { "the text ends too early" } })
    }

    /// What kind of value comes next.
    pub(super) fn next(&mut self) -> Result<Next, Syntax> {
        self.space();
        Ok(match self.byte() {
            Some(b'{') => Next::Object,
            Some(b'[') => Next::Array,
            Some(b'"') => Next::Text,
            Some(b'-' | b'0'..=b'9') => Next::Number,
            Some(b't') => Next::True,
            Some(b'f') => Next::False,
            Some(b'n') => Next::Null,
            _ => return self.wrong("a value is expected"),
        })
    }

    /// Takes this byte, if it comes next.
    #[inline]
    pub(super) fn take(&mut self, b: u8) -> bool {
        self.space();
        let found = self.byte() == Some(b);
        self.at += usize::from(found);
        found
    }

    /// Takes this byte.
    pub(super) fn expect(&mut self, b: u8, why: &'static str) -> Result<(), Syntax> {
        if self.take(b) { Ok(()) } else { self.wrong(why) }
    }

    /// Before the next member of an object or item of a list: false at the closing byte. `first` starts true.
    pub(super) fn more(&mut self, close: u8, first: &mut bool) -> Result<bool, Syntax> {
        if self.take(close) {
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.expect(b',', "a comma or the closing bracket is expected")?;
        }
        Ok(true)
    }

    /// The key of a member, with its colon.
    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, Syntax> {
        self.space();
        if self.byte() != Some(b'"') {
            return self.wrong("a key in quotes is expected");
        }
        let key = self.string()?;
        self.expect(b':', "a colon is expected")?;
        Ok(key)
    }

    /// `true`, `false` or `null`.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), Syntax> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let ends = |r: &str| !r.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        match rest.strip_prefix(word) {
            Some(r) if ends(r) => {
                self.at += word.len();
                Ok(())
            }
            _ => self.wrong("true, false or null is expected"),
        }
    }

    /// The text of a number.
    pub(super) fn number(&mut self) -> Result<&'a str, Syntax> {
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
            if matches!(self.byte(), Some(b'0'..=b'9')) {
                return self.wrong("a number does not begin with 0");
            }
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn digits(&mut self) -> Result<(), Syntax> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.wrong("a digit is expected") } else { Ok(()) }
    }

    /// A string, borrowed where it has no escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Syntax> {
        self.at += 1;
        let start = self.at;
        let mut owned: Option<String> = None;
        let mut from = start;
        loop {
            match self.byte() {
                Some(b'"') => {
                    let rest = self.text.get(from..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(rest),
                        Some(mut s) => {
                            s.push_str(rest);
                            Cow::Owned(s)
                        }
                    });
                }
                Some(b'\\') => {
                    let s = owned.get_or_insert_default();
                    s.push_str(self.text.get(from..self.at).unwrap_or_default());
                    self.at += 1;
                    let c = self.escape()?;
                    owned.get_or_insert_default().push(c);
                    from = self.at;
                }
                Some(0..32) => return self.wrong("a control character must be escaped"),
                Some(_) => self.at += 1,
                None => return self.wrong("a string does not end"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Syntax> {
        let c = match self.byte() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return self.wrong("an unknown escape"),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, Syntax> {
        let high = self.hex4()?;
        let code = match high {
            0xd800..0xdc00 => {
                if !self.text.get(self.at..).unwrap_or_default().starts_with("\\u") {
                    return self.wrong("half of a surrogate pair");
                }
                self.at += 2;
                let low = self.hex4()?;
                if !(0xdc00..0xe000).contains(&low) {
                    return self.wrong("half of a surrogate pair");
                }
                0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).map_or_else(|| self.wrong("half of a surrogate pair"), Ok)
    }

    fn hex4(&mut self) -> Result<u32, Syntax> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|d| u32::from_str_radix(d, 16).ok()) {
            Some(v) => {
                self.at += 4;
                Ok(v)
            }
            None => self.wrong("four hexadecimal digits are expected"),
        }
    }

    /// Passes over a value of any kind.
    pub(super) fn skip(&mut self, depth: usize) -> Result<(), Syntax> {
        let next = self.next()?;
        if depth >= super::MAX_DEPTH && matches!(next, Next::Object | Next::Array) {
            return self.too_deep();
        }
        let mut first = true;
        match next {
            Next::Object => {
                self.at += 1;
                while self.more(b'}', &mut first)? {
                    self.key()?;
                    self.skip(depth + 1)?;
                }
            }
            Next::Array => {
                self.at += 1;
                while self.more(b']', &mut first)? {
                    self.skip(depth + 1)?;
                }
            }
            Next::Text => drop(self.string()?),
            Next::Number => drop(self.number()?),
            Next::True => self.word("true")?,
            Next::False => self.word("false")?,
            Next::Null => self.word("null")?,
        }
        Ok(())
    }

    pub(super) fn too_deep<T>(&self) -> Result<T, Syntax> {
        Err(Syntax { at: self.at, why: "nested more than 32 levels deep" })
    }

    /// Nothing but white space follows.
    pub(super) fn end(&mut self) -> Result<(), Syntax> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.wrong("nothing more is expected") }
    }

    /// Where the next token begins.
    pub(super) fn at(&mut self) -> usize {
        self.space();
        self.at
    }

    /// Whether a text is a number and nothing else.
    pub(super) fn is_number(text: &str) -> bool {
        let mut lexer = Lexer::new(text);
        lexer.number().is_ok() && lexer.at == text.len()
    }

    /// The text since a place.
    pub(super) fn since(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default()
    }
}
