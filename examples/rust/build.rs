// SPDX-License-Identifier: Apache-2.0
//! Links with the library in build/, or in FORKD_LIBRARY_DIR.

use std::env;

fn main() {
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = env::var("FORKD_LIBRARY_DIR").unwrap_or(format!("{here}/../../build"));
    println!("cargo:rerun-if-env-changed=FORKD_LIBRARY_DIR");
    println!("cargo:rustc-link-search=native={folder}");
    println!("cargo:rustc-link-lib=forkd");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
}
