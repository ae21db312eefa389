//! `-l`: where to listen.
//!
//! Owns the forms an address may be written in; resolves no name. A refusal is the rest of a
//! sentence whose subject is the option.

use std::net::Ipv6Addr;

use super::Protocol;
use super::value::digits;

/// The longest host name there is, in bytes (RFC 1035, section 2.3.4).
const HOST_LEN_MAX: usize = 253;

/// One address to listen on, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// A name or an IP address without brackets, an IPv6 one perhaps with a `%zone`; `*` is every
    /// address of the machine. At most 253 bytes.
    pub host: String,
    /// The TCP port, where 0 takes any free one; without it the server's port counts.
    pub port: Option<u16>,
    /// What may be spoken there; without it what `-B` says.
    pub protocol: Option<Protocol>,
}

/// The value of one `-l`; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListenList(pub(super) Vec<Listen>);

/// Reads a list whose items stand between commas or semicolons. As in memcached, an empty item
/// is skipped; a list of nothing else is refused.
pub(super) fn list(text: &str) -> Result<ListenList, String> {
    let items: Vec<Listen> = text
        .split([',', ';'])
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(listen)
        .collect::<Result<_, _>>()?;
    if items.is_empty() {
        return Err(not_an_address(text));
    }
    Ok(ListenList(items))
}

fn listen(item: &str) -> Result<Listen, String> {
    let (protocol, address) = match item.strip_prefix("proto[").and_then(|it| it.split_once("]:")) {
        Some((name, address)) => (Some(protocol(name, item)?), address),
        None => (None, item),
    };
    if let Some(prefix) = prefix(address) {
        return Err(format!(
            "does not offer the prefix '{prefix}' of '{item}': there is no TLS, and listeners have no \
             tags"
        ));
    }
    let (host, port) = split_port(address).ok_or_else(|| not_an_address(item))?;
    let port =
        match port {
            None => None,
            Some(port) => Some(digits(port).ok_or_else(|| {
                format!("takes a port from 0 to 65535, not '{port}' as in '{item}'")
            })?),
        };
    Ok(Listen { host: host.to_owned(), port, protocol })
}

/// A protocol as memcached calls it in front of an address, which for one is not as behind `-B`.
fn protocol(name: &str, item: &str) -> Result<Protocol, String> {
    match name {
        "ascii" => Ok(Protocol::Ascii),
        "binary" => Ok(Protocol::Binary),
        "negotiating" => Ok(Protocol::Auto),
        _ => Err(format!(
            "takes proto[ascii]:, proto[binary]: or proto[negotiating]: in front of an address, not \
             'proto[{name}]:' as in '{item}'"
        )),
    }
}

/// Takes an address apart, when its host can be one.
fn split_port(item: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = item.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port),
            None if rest.is_empty() => None,
            None => return None,
        };
        return is_v6(host).then_some((host, port));
    }
    if is_v6(item) {
        return Some((item, None));
    }
    let (host, port) = match item.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (item, None),
    };
    let one_colon = !port.is_some_and(|port| port.contains(':'));
    (one_colon && (host == "*" || is_host(host))).then_some((host, port))
}

/// An IPv6 address, perhaps with the zone that a link-local one needs.
fn is_v6(text: &str) -> bool {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(is_host)
}

/// A name or an IPv4 address. A leading hyphen is more likely an option whose place was taken.
fn is_host(text: &str) -> bool {
    (1..=HOST_LEN_MAX).contains(&text.len())
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// memcached's other marks in front of an address: `notls:`, `tag[name]:`, `tag_name_:`.
fn prefix(item: &str) -> Option<&str> {
    let end = item.find(':')? + 1;
    let prefix = &item[..end];
    let known = matches!(prefix, "notls:" | "btls:" | "mtls:")
        || prefix.starts_with("tag[")
        || (prefix.starts_with("tag_") && prefix.ends_with("_:"));
    known.then_some(prefix)
}

fn not_an_address(text: &str) -> String {
    format!("takes host, host:port, [v6]:port, * or *:port, or a list of these, not '{text}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Option<u16>)> {
        let ListenList(items) = list(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
        items
            .into_iter()
            .map(|item| {
                assert_eq!(item.protocol, None, "{text}");
                (item.host, item.port)
            })
            .collect()
    }

    #[test]
    fn every_form() {
        for (text, host, port) in [
            ("127.0.0.1", "127.0.0.1", None),
            ("127.0.0.1:0", "127.0.0.1", Some(0)),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("cache-1.example_x.org", "cache-1.example_x.org", None),
            ("localhost:11212", "localhost", Some(11212)),
            ("*", "*", None),
            ("*:11212", "*", Some(11212)),
            ("::1", "::1", None),
            ("::", "::", None),
            ("[::1]", "::1", None),
            ("[::1]:11212", "::1", Some(11212)),
            ("fe80::1%eth0", "fe80::1%eth0", None),
            ("[fe80::1%eth0]:1", "fe80::1%eth0", Some(1)),
            ("notls", "notls", None),
            ("tagger:1", "tagger", Some(1)),
            (" 10.0.0.1 ", "10.0.0.1", None),
        ] {
            assert_eq!(read(text), [(host.to_owned(), port)], "{text}");
        }
    }

    #[test]
    fn lists() {
        let expected = [("10.0.0.1".to_owned(), Some(1)), ("::1".to_owned(), None)];
        for text in ["10.0.0.1:1,::1", "10.0.0.1:1;::1", ",10.0.0.1:1, ;::1;"] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn refused_addresses() {
        let long = "a".repeat(HOST_LEN_MAX + 1);
        assert_eq!(read(&long[1..]).len(), 1);
        for text in [
            "",
            ",;",
            ":",
            ":11211",
            "[]",
            "[]:1",
            "[::1",
            "[::1]1",
            "[127.0.0.1]:1",
            "1:2:3",
            "a b",
            "/tmp/x",
            "-v",
            "proto[ascii]",
            "proto[ascii]:",
            "proto[ascii:]127.0.0.1",
            "*x",
            "**",
            "::1%",
            "a%b",
            &long,
        ] {
            let refusal = list(text).unwrap_err();
            assert_eq!(
                refusal,
                format!(
                    "takes host, host:port, [v6]:port, * or *:port, or a list of these, not \
                     '{text}'"
                )
            );
        }
        for (text, port) in [
            ("localhost:", ""),
            ("localhost:65536", "65536"),
            ("localhost:-1", "-1"),
            ("[::1]:x", "x"),
            ("*:+1", "+1"),
        ] {
            let refusal = list(text).unwrap_err();
            assert_eq!(
                refusal,
                format!("takes a port from 0 to 65535, not '{port}' as in '{text}'")
            );
        }
    }

    #[test]
    fn refused_prefixes() {
        for (prefix, rest) in [
            ("notls:", "10.0.0.1:1"),
            ("btls:", "10.0.0.1"),
            ("mtls:", "10.0.0.1"),
            ("tag[front]:", "127.0.0.1"),
            ("tag_front_:", "127.0.0.1"),
        ] {
            let item = format!("{prefix}{rest}");
            let refusal = list(&format!("::1,{item}")).unwrap_err();
            assert!(
                refusal.starts_with(&format!("does not offer the prefix '{prefix}' of '{item}'")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn protocols() {
        let ListenList(items) =
            list("proto[ascii]:[::1]:1,proto[negotiating]:*,proto[binary]:b,a").unwrap();
        let [first, second, third, last] = &items[..] else { panic!("{items:?}") };
        assert_eq!(
            (&*first.host, first.port, first.protocol),
            ("::1", Some(1), Some(Protocol::Ascii))
        );
        assert_eq!(
            (&*second.host, second.port, second.protocol),
            ("*", None, Some(Protocol::Auto))
        );
        assert_eq!((&*third.host, third.protocol), ("b", Some(Protocol::Binary)));
        assert_eq!((&*last.host, last.protocol), ("a", None));
        for name in ["", "auto", "ASCII", "proxy"] {
            let item = format!("proto[{name}]:127.0.0.1");
            assert_eq!(
                list(&item).unwrap_err(),
                format!(
                    "takes proto[ascii]:, proto[binary]: or proto[negotiating]: in front of an \
                     address, not 'proto[{name}]:' as in '{item}'"
                )
            );
        }
        let refusal = list("proto[ascii]:notls:127.0.0.1").unwrap_err();
        assert!(refusal.starts_with("does not offer the prefix 'notls:' of 'proto["), "{refusal}");
    }
}
