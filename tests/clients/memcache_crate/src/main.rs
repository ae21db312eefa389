//! Proves that Rust's `memcache` crate works with the server, in both protocols: every command that it has but `stats`
//! (which it reads one line of), bytes of every kind, several servers and a Unix socket. Its arguments are the addresses
//! of servers, the last one a Unix socket.

use memcache::{Client, MemcacheError};
use std::time::{Duration, Instant};

const VERSION: &str = "0.21.0";
const PATIENCE: Duration = Duration::from_secs(5);

type Outcome = Result<(), MemcacheError>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [addresses @ .., socket] = &args[..] else { panic!("addresses, and a Unix socket") };
    let mut count = 0;
    for protocol in ["ascii", "binary"] {
        let shown = if protocol == "ascii" { "text" } else { protocol };
        println!(
            "CLIENT | memcache {VERSION} | Rust | {shown} | every command, every byte, three servers, a Unix socket"
        );
        let urls: Vec<String> = addresses
            .iter()
            .map(|address| format!("memcache://{address}?protocol={protocol}&timeout=5"))
            .collect();
        let local = vec![format!("memcache://{socket}?protocol={protocol}&timeout=5")];
        for urls in [urls[..1].to_vec(), urls, local] {
            let client = Client::connect(urls.clone())?;
            client.flush()?;
            commands(&client, &mut count)?;
            values(&client, &mut count)?;
            many(&client, urls, &mut count)?;
        }
    }
    println!("memcache_crate: {count} checks passed");
    Ok(())
}

fn commands(client: &Client, count: &mut u32) -> Outcome {
    let mut is = |condition: bool, what: &str| {
        assert!(condition, "{what}");
        *count += 1;
    };
    let text = |key: &str| client.get::<String>(key);
    is(text("missing")?.is_none(), "get of a missing key");
    client.set("key", "value", 60)?;
    is(text("key")?.as_deref() == Some("value"), "get");
    // Of what is not stored, the crate tells in one of the protocols only.
    let _ = client.add("key", "other", 60);
    is(text("key")?.as_deref() == Some("value"), "add of a key that exists");
    client.add("added", "new", 60)?;
    let _ = client.replace("missing", "x", 60);
    is(text("missing")?.is_none(), "replace of a missing key");
    client.replace("added", "newer", 60)?;
    is(text("added")?.as_deref() == Some("newer"), "replace");
    client.append("key", "-end")?;
    client.prepend("key", "start-")?;
    is(text("key")?.as_deref() == Some("start-value-end"), "both join");
    let (_, _, cas) = client.gets::<(Vec<u8>, u32, Option<u64>)>(&["key"])?["key"].clone();
    let cas = cas.expect("gets gives a cas unique");
    is(client.cas("key", "second", 60, cas)?, "cas with nothing in between");
    is(!client.cas("key", "third", 60, cas)?, "cas again");
    client.set("count", 10_u64, 60)?;
    is(client.increment("count", 5)? == 15, "increment");
    is(client.decrement("count", 20)? == 0, "decrement stops at 0");
    is(client.increment("key", 1).is_err(), "increment of a text");
    is(client.touch("key", 1000)?, "touch");
    is(!client.touch("missing", 1000)?, "touch of a missing key");
    is(client.delete("key")?, "delete");
    is(!client.delete("key")?, "delete of a missing key");
    client.set("brief", "v", 1)?;
    let deadline = Instant::now() + PATIENCE;
    while text("brief")?.is_some() {
        assert!(Instant::now() < deadline, "it expires");
    }
    is(client.version()?.iter().all(|(_, version)| version == "1.6.45"), "version");
    Ok(())
}

fn values(client: &Client, count: &mut u32) -> Outcome {
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    for value in [Vec::new(), every_byte, b"\r\nEND\r\n".repeat(99), vec![b'x'; 500_000]] {
        client.set("value", &value[..], 60)?;
        assert_eq!(client.get::<Vec<u8>>("value")?.as_ref(), Some(&value));
        *count += 1;
    }
    Ok(())
}

fn many(client: &Client, urls: Vec<String>, count: &mut u32) -> Outcome {
    let keys: Vec<String> = (0..100).map(|number| format!("many-{number}")).collect();
    for key in &keys {
        client.set(key, format!("value of {key}"), 60)?;
    }
    let asked: Vec<&str> = keys.iter().map(String::as_str).chain(["missing"]).collect();
    let found = client.gets::<String>(&asked)?;
    assert_eq!(found.len(), 100, "gets");
    assert!(found.iter().all(|(key, value)| *value == format!("value of {key}")), "each its own");
    for url in urls {
        let found = Client::connect(vec![url])?.gets::<String>(&asked)?;
        assert!(found.len() > 10, "every server has some of them");
    }
    *count += 3;
    Ok(())
}
