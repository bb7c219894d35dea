//! Has the symbols of a release executable written to a file of their own, `apus.debug`.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=split-symbols");
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
