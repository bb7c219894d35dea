//! Checks the sources against the rules of `docs/style.md` and `docs/architecture.md`.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The dependencies between crates (docs/architecture.md), which go one way only.
const EDGES: [(&str, &[&str]); 27] = [
    ("options", &[]),
    ("crypto", &["cluster"]),
    ("cluster", &["erasure", "options"]),
    ("bucket", &["cluster"]),
    ("policy", &[]),
    ("erasure", &[]),
    ("fault", &[]),
    ("disk", &["fault"]),
    ("daemon", &["fault", "options"]),
    ("ring", &["cluster", "disk"]),
    ("wire", &["cluster", "daemon", "fault", "ring"]),
    ("membership", &["cluster", "daemon"]),
    ("broker", &["cluster", "daemon", "disk", "fault", "options", "ring", "wire"]),
    ("store", &["bucket", "cluster", "crypto", "daemon", "fault", "policy", "ring", "wire"]),
    ("identity", &["cluster", "daemon", "fault", "policy", "store"]),
    ("account", &["broker", "bucket", "cluster", "daemon", "fault", "options", "ring", "wire"]),
    (
        "container",
        &["broker", "bucket", "cluster", "daemon", "fault", "options", "ring", "store", "wire"],
    ),
    ("object", &["cluster", "daemon", "disk", "fault", "options", "ring", "store", "wire"]),
    ("proxy", &["bucket", "cluster", "daemon", "identity", "options", "policy", "store"]),
    (
        "node",
        &[
            "account",
            "broker",
            "cluster",
            "container",
            "daemon",
            "disk",
            "identity",
            "membership",
            "object",
            "options",
            "proxy",
            "ring",
            "store",
            "wire",
        ],
    ),
    ("bench", &["cluster", "daemon"]),
    ("recon", &["cluster", "daemon", "disk", "membership", "ring", "wire"]),
    ("ring-builder", &["daemon", "disk", "recon", "ring"]),
    (
        "ring-manager",
        &["cluster", "daemon", "disk", "membership", "options", "recon", "ring", "wire"],
    ),
    ("config", &["cluster", "daemon", "disk", "node", "options", "recon", "ring", "ring-manager"]),
    (
        "apus",
        &[
            "bench",
            "cluster",
            "config",
            "container",
            "daemon",
            "disk",
            "fault",
            "identity",
            "membership",
            "node",
            "object",
            "options",
            "recon",
            "ring",
            "ring-builder",
            "ring-manager",
            "wire",
        ],
    ),
    (
        "tests",
        &[
            "broker",
            "cluster",
            "container",
            "daemon",
            "disk",
            "erasure",
            "fault",
            "node",
            "object",
            "options",
            "proxy",
            "ring",
            "store",
            "wire",
        ],
    ),
];

/// Files that may hold `unsafe`.
const UNSAFE: [&str; 2] = ["lib/broker/src/raw.rs", "lib/erasure/src/kernel/x86.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files(extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![root()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') && name != "apus-data" {
                waiting.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((relative, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn crates_import_only_downward() {
    let allowed: BTreeMap<_, _> = EDGES.into_iter().collect();
    let mut checked = 0;
    for (path, text) in files("toml").into_iter().filter(|(path, _)| path.ends_with("/Cargo.toml"))
    {
        let name =
            Path::new(&path).parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let Some(allowed) = allowed.get(name.as_str()) else {
            panic!("{path}: a crate without a row in the table of edges");
        };
        let mut found = Vec::new();
        for line in text.lines() {
            if let Some(other) =
                line.strip_prefix("apus-").and_then(|rest| rest.split(['.', ' ']).next())
            {
                assert!(allowed.contains(&other), "{path}: {name} must not depend on {other}");
                found.push(other);
                checked += 1;
            }
        }
        for other in *allowed {
            assert!(found.contains(other), "{path}: {name} does not depend on {other} any longer");
        }
    }
    assert!(checked > 20, "only {checked} edges found");
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in files("rs") {
        let is_test = path.ends_with("/tests.rs");
        assert!(is_test || text.starts_with("//!"), "{path} has no module documentation");
    }
}

#[test]
fn unsafe_stays_in_its_files() {
    for (path, text) in files("rs") {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let uses = code.filter(|line| {
            line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl")
        });
        if uses.count() > 0 && path != "tests/tidy.rs" {
            assert!(UNSAFE.contains(&path.as_str()), "{path} must not hold unsafe code");
        }
    }
}

#[test]
fn no_file_is_a_collection_and_nothing_is_left_to_do() {
    for (path, text) in files("rs") {
        let stem = Path::new(&path).file_stem().unwrap().to_str().unwrap().to_owned();
        for name in ["util", "utils", "helper", "helpers", "common", "misc"] {
            assert_ne!(stem, name, "{path}");
        }
        if path != "tests/tidy.rs" {
            for word in ["FIXME", "TODO", "todo!("] {
                assert!(!text.contains(word), "{path} holds {word}");
            }
        }
    }
}

#[test]
fn files_are_short() {
    for (path, text) in files("rs") {
        let lines = text.lines().count();
        assert!(lines <= 750, "{path} has {lines} lines");
    }
}

/// Words that are replaced by standard terms (docs/style.md).
const WORDS: [&str; 12] = [
    "told", "tell", "tells", "telling", "nobody", "somebody", "whoever", "anew", "amiss", "beside",
    "thereof", "therein",
];

#[test]
fn words_are_those_of_the_field() {
    let exempt = ["docs/style.md", "tests/tidy.rs"];
    let mut found = Vec::new();
    for (path, text) in ["rs", "md", "py"].into_iter().flat_map(files) {
        if exempt.contains(&path.as_str()) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            // Methods of Python files.
            let line = line.to_lowercase().replace(".tell()", "").replace("def tell(self)", "");
            let mut words = line.split(|letter: char| !letter.is_alphabetic());
            if let Some(word) = words.find(|word| WORDS.contains(word)) {
                found.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{} words to replace:\n{}", found.len(), found.join("\n"));
}

/// Crates that may handle the headers of a message: the messages themselves, HTTP, and what
/// translates the clients' APIs.
const HEADERS: [&str; 5] =
    ["lib/wire/src/", "lib/daemon/src/", "proxy/src/", "tests/", "tools/bench/src/"];

#[test]
fn messages_between_servers_are_typed() {
    for (path, text) in files("rs") {
        if HEADERS.iter().any(|allowed| path.starts_with(allowed)) {
            continue;
        }
        assert!(!text.contains("HeaderMap"), "{path}: use apus_wire::message");
    }
}

/// Functions that may be longer than [`LINES_MAX`]: they list cases.
const LONG_FUNCTIONS: [(&str, &str); 2] = [
    // One line per operation of S3.
    ("proxy/src/s3/mod.rs", "perform"),
    // One row per kind of request.
    ("tests/budgets.rs", "requests_stay_within_their_counted_budgets"),
];
/// Lines of a function.
const LINES_MAX: usize = 80;
/// Arguments of a function, `self` included.
const ARGUMENTS_MAX: usize = 6;

/// A function of a source file.
#[derive(Debug, PartialEq, Eq)]
struct FoundFunction {
    name: String,
    lines: usize,
    arguments: usize,
}

/// The functions with a body in a source file that rustfmt has formatted.
fn functions(text: &str) -> Vec<FoundFunction> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let Some((before, rest)) = code.split_once("fn ") else { continue };
        let qualifiers = ["pub", "const", "async", "unsafe", "extern", "\"C\""];
        let is_function = before.split_whitespace().all(|word| {
            qualifiers.contains(&word) || word.starts_with("pub(") || word.ends_with(')')
        });
        if !is_function {
            continue;
        }
        let name: String =
            rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        let mut end = start;
        while !lines[end].contains('{') && !lines[end].trim_end().ends_with(';') {
            end += 1;
        }
        if lines[end].trim_end().ends_with(';') {
            continue;
        }
        let signature = lines[start..=end].join(" ");
        if !lines[end].trim_end().ends_with('}') {
            let close = format!("{indent}}}");
            end += lines[end..].iter().position(|line| line.starts_with(&close)).unwrap();
        }
        let after_name = signature.split_once("fn ").unwrap().1[name.len()..].to_owned();
        let lines = end - start + 1;
        found.push(FoundFunction { name, lines, arguments: arguments(&after_name) });
    }
    found
}

/// Counts the arguments in what follows the name of a function.
fn arguments(signature: &str) -> usize {
    let (mut depth, mut count, mut inside, mut is_empty) = (0, 0, false, true);
    let mut before = ' ';
    for letter in signature.chars() {
        match letter {
            '(' if depth == 0 && !inside => inside = true,
            '(' | '[' | '{' | '<' => depth += 1,
            ')' if depth == 0 => break,
            '>' if before == '-' => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 0 && inside => {
                count += 1;
                is_empty = true;
                before = letter;
                continue;
            }
            _ => {}
        }
        if depth == 0 && inside && letter != '(' && !letter.is_whitespace() {
            is_empty = false;
        }
        before = letter;
    }
    count + usize::from(!is_empty)
}

#[test]
fn lines_and_arguments_of_functions_are_counted() {
    let text = "impl A {\n    pub(super) async fn one<F: Fn(u8, u8) -> u8>(\n        &self,\n        \
                a: BTreeMap<u8, (u8, u8)>,\n        work: impl FnOnce(u8) -> u8,\n    ) -> u8 {\n        \
                1\n    }\n\n    fn declared(&self, a: u8);\n}\nfn two() {}\nfn three(a: u8) {\n}\n";
    let expected = [("one", 7, 3), ("two", 1, 0), ("three", 2, 1)]
        .map(|(name, lines, arguments)| FoundFunction { name: name.to_owned(), lines, arguments });
    assert_eq!(functions(text), expected);
}

#[test]
fn functions_are_short_and_have_few_arguments() {
    let mut looked = 0;
    let mut long = Vec::new();
    for (path, text) in files("rs") {
        for FoundFunction { name, lines, arguments } in functions(&text) {
            looked += 1;
            assert!(arguments <= ARGUMENTS_MAX, "{path}: {name} has {arguments} arguments");
            if lines > LINES_MAX {
                let is_listed = LONG_FUNCTIONS.contains(&(path.as_str(), name.as_str()));
                assert!(is_listed, "{path}: {name} has {lines} lines");
                long.push((path.clone(), name));
            }
        }
    }
    assert!(looked > 5000, "only {looked} functions found");
    assert_eq!(long.len(), LONG_FUNCTIONS.len(), "a function is no longer long: {long:?}");
}

/// Every message between servers that can be decoded is fuzzed.
#[test]
fn every_decoder_of_a_message_is_fuzzed() {
    let sources = files("rs");
    let fuzz = |path: &str| path.starts_with("tests/fuzz/");
    let fuzzed: String =
        sources.iter().filter(|(path, _)| fuzz(path)).map(|(_, text)| text.as_str()).collect();
    let mut looked = 0;
    for (path, text) in sources.iter().filter(|(path, _)| path.starts_with("lib/wire/src/message/"))
    {
        let mut subject = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("impl") {
                // Of `impl<R: Serialize> Call<R> {`, what follows the parameters.
                let parameters = rest.starts_with('<').then(|| rest.split_once("> ")).flatten();
                let rest = parameters.map_or(rest, |(_, rest)| rest).trim_start();
                subject = rest.split(['<', ' ']).next().unwrap();
            }
            if line.starts_with("    pub fn decode(") {
                looked += 1;
                let calls = [format!("{subject}::decode"), format!("{subject}::<")];
                let is_fuzzed = calls.iter().any(|call| fuzzed.contains(call.as_str()));
                assert!(is_fuzzed, "{path}: {subject}::decode is in no target of tests/fuzz");
            }
        }
    }
    assert!(looked > 20, "only {looked} decoders found");
}

/// Crates that still have functions whose error is a text. All others name their errors.
const TEXT_ERRORS: [&str; 4] = ["lib/membership/", "lib/node/", "lib/wire/src/rings/", "tools/"];

#[test]
fn errors_have_types() {
    for (path, text) in files("rs") {
        let is_test = path.starts_with("tests/") || path.ends_with("tests.rs");
        if is_test || TEXT_ERRORS.iter().any(|known| path.starts_with(known)) {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines() {
            let is_text = line.contains("-> Result<") && line.contains(", String>");
            assert!(!is_text, "{path}: an error without a type: {}", line.trim());
        }
    }
}

/// What changes the file system past `lib/disk`: not counted in budgets, and not seen by the model
/// that looks for names which are not durable (`tests/crash_states`).
const CHANGES: [&str; 15] = [
    "fs::create_dir",
    "fs::remove_file",
    "fs::remove_dir",
    "fs::rename",
    "fs::hard_link",
    "fs::write(",
    "fs::copy(",
    "fs::set_permissions",
    "File::create",
    ".create(true)",
    ".create_new(",
    ".truncate(true)",
    ".append(true)",
    "fs::linkat",
    "fs::unlink",
];

/// Files that read texts of options without their declarations: the reader itself, the entry points of filters,
/// the facts for joining nodes, and the files that `apus saio` changes.
const RAW_OPTIONS: [&str; 7] = [
    "lib/cluster/src/option_error.rs",
    "lib/daemon/src/config/ini.rs",
    "lib/membership/src/facts.rs",
    "lib/node/src/filters.rs",
    "lib/node/src/saio/",
    "lib/options/src/",
    "tools/ring-manager/src/join.rs",
];

/// Options are read from their declarations, and every declared struct of options is in a file's declaration.
#[test]
fn options_are_declared() {
    let sources = files("rs");
    let product = |text: &str| text.split("#[cfg(test)]").next().unwrap().to_owned();
    let sources: Vec<(String, String)> =
        sources.into_iter().map(|(file, text)| (file, product(&text))).collect();
    let declared: String = sources
        .iter()
        .filter(|(file, _)| {
            ["declarations.rs", "options.rs", "swift_conf.rs", "ring-manager/src/conf.rs"]
                .iter()
                .any(|end| file.ends_with(end))
        })
        .map(|(_, text)| text.as_str())
        .collect();
    let mut structs = 0;
    for (file, text) in &sources {
        let is_reader = text.contains("config::") || text.contains("OptionSource");
        if is_reader
            && !RAW_OPTIONS.iter().any(|known| file.starts_with(known))
            && !file.starts_with("tests/")
        {
            for call in ["section.text(", "conf.text(", "s3.text(", ".own()"] {
                let is_expirer = call == ".own()" && file.contains("expirer/options.rs");
                let is_tool = file.starts_with("tools/config/");
                assert!(
                    !text.contains(call) || is_expirer || is_tool,
                    "{file}: {call} without a declaration"
                );
            }
        }
        if file.starts_with("lib/options/") {
            continue;
        }
        for part in text.split("\noptions! {").skip(1) {
            let name = part.split("struct ").nth(1).unwrap().split(' ').next().unwrap();
            structs += 1;
            assert!(
                declared.contains(&format!("{name}::OPTIONS")),
                "{file}: {name} is in no file's declaration"
            );
        }
    }
    assert!(structs > 20, "{structs}");
}

#[test]
fn devices_are_changed_through_lib_disk_only() {
    let mut looked = 0;
    for (path, text) in files("rs") {
        let kinds = ["object/src/", "container/src/", "account/src/", "lib/broker/src/"];
        if !kinds.iter().any(|kind| path.starts_with(kind)) || path.ends_with("/tests.rs") {
            continue;
        }
        looked += 1;
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code = code.replace("AtomicFile::create", "");
        for change in CHANGES {
            assert!(!code.contains(change), "{path}: {change}, use lib/disk");
        }
    }
    assert!(looked > 80, "only {looked} files found");
}

#[test]
fn the_s3_dialect_translates_and_nothing_else() {
    for (path, text) in files("rs").into_iter().filter(|(path, _)| path.starts_with("proxy/src/s3"))
    {
        for forbidden in ["quorum", "apus_wire", "apus_ring"] {
            assert!(!text.contains(forbidden), "{path} must not know of {forbidden}");
        }
    }
}
