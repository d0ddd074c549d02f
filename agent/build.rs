//! Tells the compiler where the eBPF object is that the agent carries.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=GENSPAN_BPF_OBJECT");
    if std::env::var_os("CARGO_FEATURE_KERNEL").is_none() {
        return;
    }
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let object = std::env::var_os("GENSPAN_BPF_OBJECT")
        .map_or_else(|| manifest.join("../target/bpf/genspan.o"), PathBuf::from);
    println!("cargo:rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(path) => println!("cargo:rustc-env=GENSPAN_BPF_OBJECT={}", path.display()),
        Err(e) => {
            println!(
                "cargo::error=the eBPF object {} is not there ({e}): run `cargo xtask build-ebpf` \
                 first, or build without live capture (--no-default-features)",
                object.display()
            );
        }
    }
}
