//! The committed samples and the reference page are those of the declarations.
//!
//! `APUS_REGENERATE=1 cargo test -p apus-config --test generated` writes them.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use apus_config::FILES;
use apus_options::{page, sample};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn generated() -> Vec<(String, String)> {
    let samples = FILES.iter().map(|file| (format!("etc/{}-sample", file.name), sample(file)));
    let saio = apus_node::saio::samples();
    let saio = saio.into_iter().map(|(name, text)| (format!("etc/saio/{name}"), text));
    let reference = [("docs/reference/options.md".to_owned(), page(&FILES))];
    samples.chain(saio).chain(reference).collect()
}

#[test]
fn samples_and_reference_are_those_of_the_declarations() {
    let regenerates = std::env::var_os("APUS_REGENERATE").is_some();
    for (name, text) in generated() {
        let path = root().join(&name);
        if regenerates {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "{name} is not as the declarations say: APUS_REGENERATE=1 cargo test -p apus-config --test generated"
        );
    }
}

#[test]
fn every_option_is_explained_and_has_a_valid_default() {
    for file in FILES {
        for option in file.all() {
            let (name, sentence) = (option.name, option.sentence());
            assert!(sentence.ends_with('.') && sentence.len() > 10, "{name}: {sentence}");
            // Without a value an option of text is as good as not given.
            let default = option.default.text().filter(|text| !text.is_empty());
            assert!(default.is_none_or(|text| option.accepts(&text)), "{name}");
            assert!(option.example.is_empty() || option.accepts(option.example), "{name}");
        }
    }
}
