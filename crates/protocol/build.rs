//! Compiles `proto/` with protox, so that no protoc has to be installed.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script through the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed={}", root.display());

    let files = ["events", "ingest", "delivery", "settings", "admin"]
        .map(|name| root.join(format!("postrider/v1/{name}.proto")));
    let descriptors = protox::compile(&files, [&root])?;
    let encoded = descriptors.encode_to_vec();
    std::fs::write(out.join("descriptors.bin"), &encoded)?;

    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors.clone())?;

    // The door of ingest once more, with requests of its own: see `src/door.rs`.
    let door = out.join("door");
    std::fs::create_dir_all(&door)?;
    let mut ingest = descriptors;
    ingest.file.retain(|file| file.name().ends_with("/ingest.proto"));
    let request = |name| (format!(".postrider.v1.{name}"), format!("super::{name}"));
    let [publish, stream] = ["PublishRequest", "PublishStreamRequest"].map(request);
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".postrider.v1", "crate::v1")
        .extern_path(publish.0, publish.1)
        .extern_path(stream.0, stream.1)
        .out_dir(door)
        .emit_rerun_if_changed(false)
        .compile_fds(ingest)?;

    // The JSON of the HTTP twin: protobuf's own mapping, with the names of the proto files.
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .preserve_proto_field_names()
        .btree_map([".postrider.v1"])
        .build(&[".postrider.v1"])?;
    Ok(())
}
