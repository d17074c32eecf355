//! A JSON text enters in pieces of any size, what stands in it leaves as calls of a [`Visit`].
//!
//! Nothing is kept but the place in the text and the beginning of the value that is being read, as much
//! of it as the visitor wants: an answer of megabytes takes the memory of what is looked for in it. The
//! grammar is RFC 8259, with two liberties, because only what is looked for is ever looked at: bytes
//! that are no UTF-8 pass, and halves of surrogate pairs become U+FFFD.

use memchr::memchr2;

/// Objects and lists within each other. Deeper texts are broken.
pub const MAX_DEPTH: u32 = 128;
/// So much of a key is told; no key that anybody looks for is longer.
pub const KEY_BYTES: usize = 64;
/// So much of a number is told.
pub const NUMBER_BYTES: usize = 32;

/// Who is told what stands in the text, in its order.
pub trait Visit {
    /// An element of a list begins with the first of these bytes. Who knows the whole element already
    /// returns its length, and is told nothing of it; 0 otherwise.
    fn element(&mut self, bytes: &[u8]) -> usize {
        let _ = bytes;
        0
    }

    /// An object begins, or a list.
    fn open(&mut self, is_list: bool);

    /// It ends.
    fn close(&mut self);

    /// A key, decoded, at most [`KEY_BYTES`] of it; its value follows.
    fn key(&mut self, key: &[u8]);

    /// A text begins: how many of its bytes, decoded, are wanted.
    fn wanted(&mut self) -> usize;

    /// So much of the text as was wanted; it may end within a character.
    fn text(&mut self, text: &[u8]);

    /// A number as it is written, at most [`NUMBER_BYTES`] of it.
    fn number(&mut self, number: &[u8]);

    /// `true`, `false` or `null`.
    fn word(&mut self, word: &'static str);
}

/// The text is not JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not JSON")]
pub struct Broken;

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// A value.
    Value,
    /// A value, or the end of the list that has just begun.
    FirstElement,
    /// A key, or the end of the object that has just begun.
    FirstKey,
    /// A key.
    Key,
    /// The colon behind a key.
    Colon,
    /// A comma, or the end of what the value stands in.
    AfterValue,
    /// More of a key or a text.
    Text { is_key: bool },
    /// What a backslash stands before.
    Escape { is_key: bool },
    /// So many digits of `\u`, and what they make so far.
    Unicode { is_key: bool, digits: u8, unit: u16 },
    /// More of a number.
    Number(Number),
    /// The rest of a word.
    Word { word: &'static str, at: usize },
    /// Space.
    End,
}

/// Parts of a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Number {
    /// The part that `byte` belongs to; none when it does not belong to the number.
    fn next(self, byte: u8) -> Option<Number> {
        use Number::{E, Exponent, Fraction, Minus, Point, Sign, Whole, Zero};
        Some(match (self, byte) {
            (Minus, b'0') => Zero,
            (Minus, b'1'..=b'9') | (Whole, b'0'..=b'9') => Whole,
            (Zero | Whole, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Whole | Fraction, b'e' | b'E') => E,
            (E, b'+' | b'-') => Sign,
            (E | Sign | Exponent, b'0'..=b'9') => Exponent,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(
            self,
            Number::Zero | Number::Whole | Number::Fraction | Number::Exponent
        )
    }
}

/// A place in a JSON text.
#[derive(Debug)]
pub struct Walker {
    state: State,
    depth: u32,
    /// For each open object (0) and list (1), the innermost lowest.
    lists: u128,
    /// The beginning of the key, text or number that is being read.
    buffer: Vec<u8>,
    limit: usize,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

#[cfg(test)]
impl Walker {
    /// Bytes that it holds outside of itself.
    pub(crate) fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

impl Default for Walker {
    fn default() -> Walker {
        Walker::new()
    }
}

impl Walker {
    /// At the beginning of a text.
    pub fn new() -> Walker {
        Walker {
            state: State::Value,
            depth: 0,
            lists: 0,
            buffer: Vec::new(),
            limit: 0,
            high: None,
        }
    }

    /// The next piece of the text. After an error nothing more is to be pushed.
    ///
    /// # Errors
    /// When it cannot belong to a JSON text.
    pub fn push(&mut self, piece: &[u8], visit: &mut impl Visit) -> Result<(), Broken> {
        let mut at = 0;
        while let Some(byte) = piece.get(at) {
            at += match self.state {
                State::Text { is_key } => self.more_text(&piece[at..], is_key, visit)?,
                State::Escape { is_key } => self.escape(*byte, is_key)?,
                State::Unicode { is_key, digits, unit } => self.unicode(*byte, is_key, digits, unit)?,
                State::Number(number) => self.more_number(*byte, number, visit)?,
                State::Word { word, at } => self.more_word(*byte, word, at, visit)?,
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => 1,
                State::Value | State::FirstElement => self.value(&piece[at..], visit)?,
                State::FirstKey | State::Key => self.begin_key(*byte, visit)?,
                State::Colon if *byte == b':' => self.go(State::Value),
                State::AfterValue => self.after_value(*byte, visit)?,
                State::Colon | State::End => return Err(Broken),
            };
        }
        Ok(())
    }

    /// Whether the text is whole: nothing but space may follow.
    ///
    /// # Errors
    /// When it is torn.
    pub fn finish(mut self, visit: &mut impl Visit) -> Result<(), Broken> {
        if let State::Number(number) = self.state
            && self.depth == 0
        {
            self.end_number(number, visit)?;
        }
        if self.state == State::End {
            Ok(())
        } else {
            Err(Broken)
        }
    }

    /// One byte was used.
    fn go(&mut self, state: State) -> usize {
        self.state = state;
        1
    }

    fn is_in_list(&self) -> bool {
        self.depth > 0 && self.lists & 1 == 1
    }

    fn value(&mut self, rest: &[u8], visit: &mut impl Visit) -> Result<usize, Broken> {
        let byte = rest[0];
        if byte == b']' && self.state == State::FirstElement {
            return self.close(visit);
        }
        if self.is_in_list() {
            let known = visit.element(rest);
            if known > 0 {
                self.after();
                return Ok(known);
            }
        }
        match byte {
            b'{' => self.open(false, visit),
            b'[' => self.open(true, visit),
            b'"' => {
                self.buffer.clear();
                self.limit = visit.wanted();
                Ok(self.go(State::Text { is_key: false }))
            }
            b'-' => Ok(self.begin_number(byte, Number::Minus)),
            b'0' => Ok(self.begin_number(byte, Number::Zero)),
            b'1'..=b'9' => Ok(self.begin_number(byte, Number::Whole)),
            b't' => Ok(self.go(State::Word { word: "true", at: 1 })),
            b'f' => Ok(self.go(State::Word { word: "false", at: 1 })),
            b'n' => Ok(self.go(State::Word { word: "null", at: 1 })),
            _ => Err(Broken),
        }
    }

    fn open(&mut self, is_list: bool, visit: &mut impl Visit) -> Result<usize, Broken> {
        if self.depth == MAX_DEPTH {
            return Err(Broken);
        }
        self.depth += 1;
        self.lists = self.lists << 1 | u128::from(is_list);
        visit.open(is_list);
        Ok(self.go(if is_list {
            State::FirstElement
        } else {
            State::FirstKey
        }))
    }

    fn close(&mut self, visit: &mut impl Visit) -> Result<usize, Broken> {
        self.depth -= 1;
        self.lists >>= 1;
        visit.close();
        self.after();
        Ok(1)
    }

    /// A value has ended.
    fn after(&mut self) {
        self.state = if self.depth == 0 {
            State::End
        } else {
            State::AfterValue
        };
    }

    fn after_value(&mut self, byte: u8, visit: &mut impl Visit) -> Result<usize, Broken> {
        match (byte, self.is_in_list()) {
            (b',', true) => Ok(self.go(State::Value)),
            (b',', false) => Ok(self.go(State::Key)),
            (b']', true) | (b'}', false) => self.close(visit),
            _ => Err(Broken),
        }
    }

    fn begin_key(&mut self, byte: u8, visit: &mut impl Visit) -> Result<usize, Broken> {
        match byte {
            b'"' => {
                self.buffer.clear();
                self.limit = KEY_BYTES;
                Ok(self.go(State::Text { is_key: true }))
            }
            b'}' if self.state == State::FirstKey => self.close(visit),
            _ => Err(Broken),
        }
    }

    fn more_text(&mut self, rest: &[u8], is_key: bool, visit: &mut impl Visit) -> Result<usize, Broken> {
        let end = memchr2(b'"', b'\\', rest);
        let plain = &rest[..end.unwrap_or(rest.len())];
        // RFC 8259, 7: control characters must be escaped.
        if plain.iter().any(|byte| *byte < b' ') {
            return Err(Broken);
        }
        if !plain.is_empty() {
            self.end_surrogate();
            self.keep(plain);
        }
        let Some(end) = end else {
            return Ok(rest.len());
        };
        if rest[end] == b'\\' {
            self.state = State::Escape { is_key };
            return Ok(end + 1);
        }
        self.end_surrogate();
        if is_key {
            visit.key(&self.buffer);
            self.state = State::Colon;
        } else {
            visit.text(&self.buffer);
            self.after();
        }
        Ok(end + 1)
    }

    fn escape(&mut self, byte: u8, is_key: bool) -> Result<usize, Broken> {
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                return Ok(self.go(State::Unicode {
                    is_key,
                    digits: 0,
                    unit: 0,
                }));
            }
            _ => return Err(Broken),
        };
        self.end_surrogate();
        self.keep(&[plain]);
        Ok(self.go(State::Text { is_key }))
    }

    fn unicode(&mut self, byte: u8, is_key: bool, digits: u8, unit: u16) -> Result<usize, Broken> {
        let digit = char::from(byte).to_digit(16).ok_or(Broken)? as u16;
        let (digits, unit) = (digits + 1, unit << 4 | digit);
        if digits < 4 {
            return Ok(self.go(State::Unicode { is_key, digits, unit }));
        }
        match (self.high.take(), unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                let low = u32::from(unit) - 0xdc00;
                let scalar = 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + low;
                self.keep_char(char::from_u32(scalar));
            }
            (high, unit) => {
                if high.is_some() {
                    self.keep_char(None);
                }
                match unit {
                    0xd800..=0xdbff => self.high = Some(unit),
                    _ => self.keep_char(char::from_u32(u32::from(unit))),
                }
            }
        }
        Ok(self.go(State::Text { is_key }))
    }

    /// The second half of a surrogate pair has not come.
    fn end_surrogate(&mut self) {
        if self.high.take().is_some() {
            self.keep_char(None);
        }
    }

    fn keep_char(&mut self, sign: Option<char>) {
        let sign = sign.unwrap_or(char::REPLACEMENT_CHARACTER);
        self.keep(sign.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.limit - self.buffer.len();
        self.buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn begin_number(&mut self, byte: u8, number: Number) -> usize {
        self.buffer.clear();
        self.limit = NUMBER_BYTES;
        self.buffer.push(byte);
        self.go(State::Number(number))
    }

    fn more_number(&mut self, byte: u8, number: Number, visit: &mut impl Visit) -> Result<usize, Broken> {
        if let Some(next) = number.next(byte) {
            self.keep(&[byte]);
            return Ok(self.go(State::Number(next)));
        }
        self.end_number(number, visit)?;
        // What stands behind it is looked at again.
        Ok(0)
    }

    fn end_number(&mut self, number: Number, visit: &mut impl Visit) -> Result<(), Broken> {
        if !number.may_end() {
            return Err(Broken);
        }
        visit.number(&self.buffer);
        self.after();
        Ok(())
    }

    fn more_word(
        &mut self,
        byte: u8,
        word: &'static str,
        at: usize,
        visit: &mut impl Visit,
    ) -> Result<usize, Broken> {
        if word.as_bytes()[at] != byte {
            return Err(Broken);
        }
        if at + 1 < word.len() {
            return Ok(self.go(State::Word { word, at: at + 1 }));
        }
        visit.word(word);
        self.after();
        Ok(1)
    }
}

#[cfg(test)]
mod tests;
