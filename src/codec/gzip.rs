//! NDJSON chunks enter, one gzip member leaves; and back.
//!
//! [`Compressor`] is the seam for a faster encoder; [`Gzip`] is flate2 with zlib-rs, [`Identity`]
//! stores. A compressor is fed chunk by chunk while a body grows, so that closing a body costs no
//! burst of work. [`inflate`] is for the rare body that must be taken apart.

use crate::record::{Body, Encoding};
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};

/// Turns the chunks of one body after another into finished bytes.
pub trait Compressor: Send {
    /// Appends `chunk` to the body, writing what comes out to `out`.
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>);
    /// Ends the body; the compressor is ready for the next one.
    fn finish(&mut self, out: &mut Vec<u8>);
    /// What the bytes are.
    fn encoding(&self) -> Encoding;
    /// Another one like this, with nothing in it.
    fn another(&self) -> Box<dyn Compressor>;
}

/// The compressor for a configured level: 0 stores, 1 to 9 is gzip.
pub fn compressor(level: u8) -> Box<dyn Compressor> {
    if level == 0 {
        Box::new(Identity)
    } else {
        Box::new(Gzip::new(level))
    }
}

/// Stores the text as it is.
pub struct Identity;

impl Compressor for Identity {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(chunk);
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {}

    fn encoding(&self) -> Encoding {
        Encoding::Identity
    }

    fn another(&self) -> Box<dyn Compressor> {
        Box::new(Identity)
    }
}

/// RFC 1952 header: deflate, no flags, no time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Room that is kept free in the output while deflating.
const SPARE_BYTES: usize = 16 * 1024;

/// gzip by flate2 with zlib-rs.
pub struct Gzip {
    level: u8,
    deflate: Compress,
    crc: Crc,
    open: bool,
}

impl Gzip {
    /// A compressor of `level` 1 (fast) to 9 (small).
    pub fn new(level: u8) -> Gzip {
        Gzip {
            level,
            deflate: Compress::new(Compression::new(u32::from(level)), false),
            crc: Crc::new(),
            open: false,
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.open {
            out.extend_from_slice(&HEADER);
            self.open = true;
        }
    }
}

impl Compressor for Gzip {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        self.begin(out);
        self.crc.update(chunk);
        let mut rest = chunk;
        while !rest.is_empty() {
            out.reserve(SPARE_BYTES);
            let before = self.deflate.total_in();
            // The stream cannot fail: its state is ours and the output always has room.
            let _ = self.deflate.compress_vec(rest, out, FlushCompress::None);
            rest = &rest[(self.deflate.total_in() - before) as usize..];
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        loop {
            out.reserve(SPARE_BYTES);
            if matches!(
                self.deflate.compress_vec(&[], out, FlushCompress::Finish),
                Ok(Status::StreamEnd)
            ) {
                break;
            }
        }
        out.extend_from_slice(&self.crc.sum().to_le_bytes());
        out.extend_from_slice(&self.crc.amount().to_le_bytes());
        self.deflate.reset();
        self.crc.reset();
        self.open = false;
    }

    fn encoding(&self) -> Encoding {
        Encoding::Gzip
    }

    fn another(&self) -> Box<dyn Compressor> {
        Box::new(Gzip::new(self.level))
    }
}

/// A body that does not inflate to what its table says.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("body of {bytes} bytes does not inflate to the {expected} bytes its table says")]
pub struct Damaged {
    /// Length of the encoded body.
    pub bytes: usize,
    /// Length that was expected.
    pub expected: u32,
}

/// The NDJSON text of a body that one of our compressors made; never more than its table says.
pub fn inflate(body: &Body) -> Result<Vec<u8>, Damaged> {
    let damaged = || Damaged {
        bytes: body.bytes.len(),
        expected: body.inflated_len,
    };
    let expected = body.inflated_len as usize;
    if body.encoding == Encoding::Identity {
        return if body.bytes.len() == expected {
            Ok(body.bytes.to_vec())
        } else {
            Err(damaged())
        };
    }
    let deflated = body.bytes.strip_prefix(&HEADER[..]).ok_or_else(damaged)?;
    let mut text = Vec::with_capacity(expected);
    let status = Decompress::new(false)
        .decompress_vec(deflated, &mut text, FlushDecompress::Finish)
        .map_err(|_| damaged())?;
    let whole = text.len() == expected && (status == Status::StreamEnd || expected == 0);
    if whole { Ok(text) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::io::Read;

    fn body_of(level: u8, chunks: &[Vec<u8>]) -> Body {
        let mut compressor = compressor(level);
        let mut out = Vec::new();
        for chunk in chunks {
            compressor.push(chunk, &mut out);
        }
        compressor.finish(&mut out);
        let inflated_len = chunks.iter().map(Vec::len).sum::<usize>() as u32;
        Body {
            bytes: Bytes::from(out),
            encoding: compressor.encoding(),
            inflated_len,
            rows: vec![],
            files: vec![],
        }
    }

    proptest! {
        #[test]
        fn a_foreign_gunzip_and_ours_read_every_body(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5000), 0..8),
            level in 0u8..=9,
        ) {
            let body = body_of(level, &chunks);
            let text = chunks.concat();
            prop_assert_eq!(&inflate(&body).unwrap(), &text);
            if level > 0 {
                let mut foreign = Vec::new();
                flate2::read::GzDecoder::new(&body.bytes[..]).read_to_end(&mut foreign).unwrap();
                prop_assert_eq!(foreign, text);
            }
        }

        #[test]
        fn a_damaged_body_is_an_error_or_other_text_but_never_longer(cut in 0usize..200, flip in any::<u8>()) {
            let mut body = body_of(1, &[b"line one\nline two\n".repeat(20)]);
            let mut bytes = body.bytes.to_vec();
            let at = cut % bytes.len();
            bytes[at] ^= flip;
            bytes.truncate(bytes.len() - cut % 20);
            body.bytes = Bytes::from(bytes);
            if let Ok(text) = inflate(&body) {
                prop_assert_eq!(text.len(), body.inflated_len as usize);
            }
        }
    }

    #[test]
    fn one_compressor_makes_many_bodies() {
        let mut gzip = Gzip::new(1);
        for round in 0..3 {
            let text = format!("round {round}\n").repeat(1000);
            let mut out = Vec::new();
            gzip.push(text.as_bytes(), &mut out);
            gzip.finish(&mut out);
            let mut back = String::new();
            flate2::read::GzDecoder::new(&out[..])
                .read_to_string(&mut back)
                .unwrap();
            assert_eq!(back, text);
        }
    }
}
