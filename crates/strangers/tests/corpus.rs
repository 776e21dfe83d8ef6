//! The inputs that fuzzing has kept, once more: its corpora, the examples that it began with, and the
//! inputs that once showed a fault. Without a fuzzer, in seconds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use strangers::{TARGETS, Target};

/// Where inputs of a target may stand, in `crates/fuzz`.
const PLACES: [&str; 3] = ["seeds", "corpus", "regressions"];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The inputs of a target, with where they stand.
fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folders = PLACES.map(|place| fuzz().join(place).join(name));
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let files = entries.map(|entry| entry.expect("an entry").path());
    files.map(|file| (file.clone(), fs::read(&file).expect("readable"))).collect()
}

fn replay(name: &str) {
    let target = Target::named(name).expect(name);
    let inputs = inputs(name);
    assert!(!inputs.is_empty(), "nothing is kept for {name}");
    target.run(b"");
    for (file, input) in inputs {
        // On a failure it is the last one.
        println!("{}", file.display());
        target.run(&input);
    }
}

macro_rules! replays {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                replay($name);
            }
        )*

        #[test]
        fn every_target_is_replayed_and_has_its_binary() {
            let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, BTreeSet::from([$($name),*]));
            let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("readable");
            let page = fs::read_to_string(fuzz().join("../../docs/fuzzing.md")).expect("readable");
            for name in names {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} has no binary");
                assert!(page.contains(&format!("| `{name}` |")), "{name} has no row");
            }
        }
    };
}

replays! {
    forms_of_strangers_do_no_harm "forms"
    parts_of_forms_of_strangers_do_no_harm "multipart"
    bodies_in_json_of_strangers_do_no_harm "json_bodies"
    queries_of_strangers_do_no_harm "queries"
    filters_of_strangers_find_what_a_naive_reader_finds "filters"
    seals_that_are_not_ours_do_not_open "seals"
    urls_of_strangers_are_what_they_were_read_as "urls"
    addresses_are_refused_in_every_notation_or_in_none "addresses"
    events_in_json_are_what_they_were_read_as "event_json"
    events_in_protobuf_are_what_they_were_read_as "event_protobuf"
    recipients_in_angle_brackets_are_taken_from_every_text "redaction"
    mailboxes_of_strangers_end_no_command "mailboxes"
    headers_of_strangers_say_nothing_that_proxies_say "headers"
    forms_of_the_console_lead_nobody_elsewhere "console_forms"
    request_bins_take_whatever_comes "request_bins"
    answers_of_receivers_are_never_our_fault "answers"
    replies_of_a_relay_are_read_as_a_naive_reader_reads_them "relay"
}
