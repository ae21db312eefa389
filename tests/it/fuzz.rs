//! What the fuzz targets begin with: all that the scripts send (`scripts/*.txt`), and what they have not
//! (`../fuzz/seeds/*.txt`, in the same form). Each seed keeps the rule that the targets check; `LARDER_FUZZ_CORPUS` names a folder
//! to write them to.

#[path = "../fuzz/src/lib.rs"]
mod rule;

use crate::script::load;
use crate::script::parse::{Action, Case, Piece};
use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// A moment for those who ask for one.
const NOW_UNIX_S: i64 = 1_800_000_000;
/// A longer one is not what a fuzzer should begin with.
const WRITTEN_LEN_MAX: usize = 128 * 1024;

/// A target, and what it does with an input.
type Target = (&'static str, fn(&[u8]));

const TEXT: Target = ("text", rule::text);
const META: Target = ("meta", rule::meta);
const BINARY: Target = ("binary", rule::binary);
const CONFIG: Target = ("config", rule::config);

struct Seed {
    target: Target,
    /// Of its file, and of what it is in there.
    name: String,
    input: Vec<u8>,
}

/// What a case sends, a seed for each connection.
fn seeds(case: &Case) -> impl Iterator<Item = Seed> {
    let mut sent = BTreeMap::<char, Vec<u8>>::new();
    for step in &case.larder.steps {
        if let Action::Send(pieces) = &step.action {
            let input = sent.entry(step.connection).or_default();
            for piece in pieces {
                match piece {
                    Piece::Bytes(bytes) => input.extend_from_slice(bytes),
                    Piece::Now(offset) => input.extend((NOW_UNIX_S + offset).to_string().bytes()),
                    Piece::Number { .. } => input.push(b'1'),
                }
            }
        }
    }
    sent.into_iter().map(|(connection, input)| {
        let target = match input.first() {
            _ if case.file.starts_with("config") => CONFIG,
            Some(0x80) => BINARY,
            _ if case.file.starts_with("meta") => META,
            _ => TEXT,
        };
        Seed { target, name: format!("{}: {}, {connection}", case.file, case.name), input }
    })
}

#[test]
fn seeds_keep_the_rule() {
    let mut seeds: Vec<Seed> = ["tests/it/scripts", "tests/fuzz/seeds"]
        .iter()
        .flat_map(|folder| load(folder).unwrap_or_else(|error| panic!("{error}")))
        .flat_map(|case| seeds(&case).collect::<Vec<_>>())
        .collect();
    let example = include_bytes!("../../memcached.conf.example").to_vec();
    seeds.push(Seed { target: CONFIG, name: "memcached.conf.example".to_owned(), input: example });
    if let Some(folder) = std::env::var_os("LARDER_FUZZ_CORPUS") {
        write(&seeds, Path::new(&folder));
    }
    for target in [TEXT, META, BINARY, CONFIG] {
        assert!(seeds.iter().any(|seed| seed.target.0 == target.0), "{} has none", target.0);
    }
    let broken: Vec<&str> = seeds
        .iter()
        .filter(|seed| catch_unwind(|| (seed.target.1)(&seed.input)).is_err())
        .map(|seed| &seed.name[..])
        .collect();
    assert!(broken.is_empty(), "{} of {}: {broken:#?}", broken.len(), seeds.len());
}

/// Each seed in a file of its own, where `cargo fuzz` looks for them.
fn write(seeds: &[Seed], folder: &Path) {
    let written = seeds.iter().filter(|seed| seed.input.len() <= WRITTEN_LEN_MAX);
    for (number, seed) in written.enumerate() {
        let folder = folder.join(seed.target.0);
        fs::create_dir_all(&folder).expect("a folder for the seeds");
        fs::write(folder.join(format!("seed-{number:04}")), &seed.input)
            .expect("a seed is written");
    }
}
