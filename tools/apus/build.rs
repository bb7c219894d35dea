//! Has the symbols of a release executable written to a file of their own, `apus.debug`, and gives
//! `apus --version` the commit and its date.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=split-symbols");
    println!("cargo::rustc-env=APUS_VERSION={}", version());
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let directory = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    // `-wrapper` is an option of gcc, which links here unless another linker is set.
    let is_gcc = env::var_os("RUSTC_LINKER").is_none();
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && is_gcc {
        let wrapper = Path::new(&directory).join("split-symbols");
        println!("cargo::rustc-link-arg-bins=-wrapper");
        println!("cargo::rustc-link-arg-bins={}", wrapper.display());
    }
}

/// The package's version, and the commit and its date where they are known: from the environment
/// variable `APUS_COMMIT` (`HASH DATE`, for builds of an archive), or else from git.
fn version() -> String {
    println!("cargo::rerun-if-env-changed=APUS_COMMIT");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    match env::var("APUS_COMMIT").ok().or_else(commit_of_git).map(|text| text.trim().to_owned()) {
        Some(commit) if is_one_line(&commit) => format!("{version} ({commit})"),
        _ => version,
    }
}

/// Whether a text can be an instruction's value: cargo ends instructions at the line's end.
fn is_one_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(['\n', '\r'])
}

/// The commit that is checked out here; nothing without git, or where the sources were unpacked in
/// a repository that is not theirs.
fn commit_of_git() -> Option<String> {
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join("../..").canonicalize().ok()?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&root).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim().to_owned()).filter(|text| output.status.success() && is_one_line(text))
    };
    let top = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if top != root {
        return None;
    }
    // Git appends a line to this file with each commit and checkout.
    let log = root.join(git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    if log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    git(&["log", "-1", "--format=%h %cs", "--abbrev=10"])
}
