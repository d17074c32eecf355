//! The SHA-256 of a certificate, as openssl, Elasticsearch and Kibana write it.

use std::fmt;

/// The SHA-256 of a certificate in its binary form (DER).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// 64 hexadecimal digits, in upper or lower case, with or without a colon between two and two.
    pub fn parse(text: &str) -> Option<Fingerprint> {
        let pairs: Vec<&str> = match text.contains(':') {
            true => text.split(':').collect(),
            false => text
                .as_bytes()
                .chunks(2)
                .map(str::from_utf8)
                .collect::<Result<_, _>>()
                .ok()?,
        };
        let byte = |pair: &&str| {
            let is_pair = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_pair.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
        };
        let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
        bytes.try_into().ok().map(Fingerprint)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_it_and_nothing_else() {
        let plain = "0aff".repeat(16);
        let colons = ["0A", "FF"].repeat(16).join(":");
        let read = Fingerprint::parse(&plain).unwrap();
        assert_eq!((read.0[0], read.0[31]), (0x0a, 0xff));
        assert_eq!(Fingerprint::parse(&colons), Some(read));
        assert_eq!(read.to_string(), plain);
        for wrong in [
            "",
            "0a",
            &plain[1..],
            &format!("{plain}00"),
            &plain.replace('a', "g"),
            &plain.replace('a', "é"),
            &colons[1..],
            &colons.replace("0A", "+A"),
        ] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
    }
}
