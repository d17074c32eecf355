//! The address of an Elasticsearch host: checked here, so that the client can only fail by network.

use std::fmt;
use std::net::Ipv6Addr;

/// An `http://` or `https://` address without credentials, query or trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostUrl {
    text: String,
}

impl HostUrl {
    /// Checks an address; the error says what is wrong, and never repeats the address, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
        let (scheme, rest) = if lower.starts_with("https://") {
            ("https://", &text[8..])
        } else if lower.starts_with("http://") {
            ("http://", &text[7..])
        } else {
            return Err("begin it with http:// or https://");
        };
        if rest.contains('@') {
            return Err(
                "credentials do not belong into the address; use auth.username and auth.password_file, or auth.api_key_file",
            );
        }
        if rest.contains(['?', '#']) {
            return Err("leave out the query (`?…`) and the fragment (`#…`)");
        }
        if !rest
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !br#"\"<>^`{|}"#.contains(&byte))
        {
            return Err("use only ASCII letters, digits and the signs of an address");
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        check_authority(authority)?;
        Ok(Self {
            text: format!("{scheme}{authority}{}", path.trim_end_matches('/')),
        })
    }

    /// The address, without a slash at its end: append `/_bulk`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https:")
    }
}

impl Default for HostUrl {
    fn default() -> Self {
        Self {
            text: "http://elasticsearch:9200".to_owned(),
        }
    }
}

impl fmt::Display for HostUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check_authority(authority: &str) -> Result<(), &'static str> {
    let (host_ok, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (address, port) = inner.split_once(']').ok_or("close the IPv6 address with `]`")?;
            (address.parse::<Ipv6Addr>().is_ok(), port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (is_host_name(host), port)
        }
    };
    if !host_ok {
        return Err("the host is no name and no IP address");
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(digits) if is_port(digits) => Ok(()),
        _ => Err("the port must be a number from 1 to 65535"),
    }
}

fn is_host_name(host: &str) -> bool {
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label_ok)
}

fn is_port(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|port| port > 0)
}
