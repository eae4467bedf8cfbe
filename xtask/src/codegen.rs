//! Generates what is committed but not written by hand: from the protos messages, shape tables, gRPC client and server; from the
//! catalogue its docs and JSON Schema.

mod breaking;
mod shapes;

use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// Where the protos are, below the project root.
const PROTO_ROOT: &str = "am-schema/proto";

/// The descriptors that devices in the field rely on, below the project root.
const BASELINE: &str = "am-schema/proto/baseline.binpb";

/// A generated file: its path below the project root and its content.
type Output = (PathBuf, Vec<u8>);

/// Writes all generated files; with `check`, compares them instead.
///
/// # Errors
/// Says which proto does not compile, what would break devices in the field, or which generated file is out of date.
pub(crate) fn run(check: bool) -> Result<(), String> {
    let root = crate::project_root();
    let set = compile(&root)?;
    compare(&root, &set)?;
    let tmp = std::env::temp_dir().join(format!("am-codegen-{}", std::process::id()));
    let result = generate_all(&root, &set, &tmp, check);
    let _ = std::fs::remove_dir_all(&tmp);
    let stale = result?;
    match stale.is_empty() {
        true => Ok(()),
        false => Err(format!("out of date, run `cargo xtask codegen`: {}", stale.join(", "))),
    }
}

/// Whether the protos still speak with what is in the field.
///
/// # Errors
/// Names every element that was removed or changed.
pub(crate) fn breaking(root: &Path) -> Result<(), String> {
    compare(root, &compile(root)?)
}

fn compare(root: &Path, set: &FileDescriptorSet) -> Result<(), String> {
    let bytes = match std::fs::read(root.join(BASELINE)) {
        Ok(b) => b,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(format!("{BASELINE}: {e}")),
    };
    let baseline = FileDescriptorSet::decode(bytes.as_slice()).map_err(|e| format!("{BASELINE}: {e}"))?;
    let changes = breaking::changes(&baseline, set);
    match changes.is_empty() {
        true => Ok(()),
        false => Err(format!("these changes of {PROTO_ROOT} break devices in the field:\n  {}", changes.join("\n  "))),
    }
}

/// The descriptors without comments and without Google's files: what later versions are compared with.
fn baseline(set: &FileDescriptorSet) -> Vec<u8> {
    let file = set.file.iter().filter(|f| !f.package().starts_with("google."));
    FileDescriptorSet { file: file.map(|f| FileDescriptorProto { source_code_info: None, ..f.clone() }).collect() }.encode_to_vec()
}

/// Code first, then what is rendered by it. Returns what is out of date.
fn generate_all(root: &Path, set: &FileDescriptorSet, tmp: &Path, check: bool) -> Result<Vec<String>, String> {
    let mut code = vec![(BASELINE.into(), baseline(set))];
    generate(set, tmp, &mut code)?;
    let mut stale = write(root, code, check)?;
    // Docs of old code would be compared in vain.
    if stale.is_empty() {
        stale = write(root, catalogue_docs(&tmp.join("docs"))?, check)?;
    }
    Ok(stale)
}

fn write(root: &Path, outputs: Vec<Output>, check: bool) -> Result<Vec<String>, String> {
    let mut stale = Vec::new();
    for (path, bytes) in outputs {
        let full = root.join(&path);
        if std::fs::read(&full).is_ok_and(|old| old == bytes) {
            continue;
        }
        if check {
            stale.push(path.display().to_string());
            continue;
        }
        if let Some(dir) = full.parent() {
            std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        }
        std::fs::write(&full, bytes).map_err(|e| format!("{}: {e}", full.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(stale)
}

/// The table of kinds and the JSON Schema. am-schema renders them itself, in a process of its own, because this program was built
/// before its code was generated.
fn catalogue_docs(dir: &Path) -> Result<Vec<Output>, String> {
    let mut render = crate::exec::cargo(["run", "--quiet", "--package", "am-schema", "--example", "render_catalogue", "--"]);
    crate::exec::capture(render.arg(dir))?;
    ["docs/catalogue.md", "docs/schema/am.v1.json"].into_iter().map(|f| Ok((f.into(), read(&dir.join(f))?))).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Compiles all protos below the root, in order of name.
fn compile(root: &Path) -> Result<FileDescriptorSet, String> {
    let dir = root.join(PROTO_ROOT);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir.join("am/v1"))
        .map_err(|e| format!("{}: {e}", dir.display()))?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|x| x == "proto"))
        .collect();
    files.sort();
    let mut compiler = protox::Compiler::new([&dir]).map_err(|e| format!("{e:?}"))?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(files).map_err(|e| format!("{e:?}"))?;
    Ok(compiler.file_descriptor_set())
}

fn generate(set: &FileDescriptorSet, tmp: &Path, out: &mut Vec<Output>) -> Result<(), String> {
    let dir = |name: &str| -> Result<PathBuf, String> {
        let d = tmp.join(name);
        std::fs::create_dir_all(&d).map_err(|e| format!("{}: {e}", d.display()))?;
        Ok(d)
    };
    // The client takes any channel, so that it also works where tonic has no transport.
    let base =
        || tonic_prost_build::configure().build_client(false).build_server(false).build_transport(false).emit_rerun_if_changed(false);

    let d = dir("messages")?;
    base()
        .bytes(".am.v1.AudioChunk.data")
        .bytes(".am.v1.Image.data")
        .bytes(".am.v1.VideoFrame.data")
        .bytes(".am.v1.SampleBlock.data")
        .bytes(".am.v1.SpeechAudio.data")
        .bytes(".am.v1.Parcel.readings")
        .bytes(".am.v1.Parcel.letters")
        .btree_map(".am.v1")
        .out_dir(&d)
        .compile_fds(set.clone())
        .map_err(|e| e.to_string())?;
    out.push(("am-schema/src/generated/am.v1.rs".into(), header(&read(&d.join("am.v1.rs"))?)));

    let d = dir("client")?;
    base().build_client(true).extern_path(".am.v1", "::am_schema::v1").out_dir(&d).compile_fds(set.clone()).map_err(|e| e.to_string())?;
    out.push(("am-client/src/generated/ingest_client.rs".into(), header(&read(&d.join("am.v1.rs"))?)));

    let d = dir("server")?;
    base()
        .build_server(true)
        .codec_path("crate::grpc::codec::RawCodec")
        .extern_path(".am.v1.Reading", "crate::grpc::codec::RawReading")
        .extern_path(".am.v1.BatchRequest", "crate::grpc::codec::RawBatch")
        .extern_path(".am.v1", "::am_schema::v1")
        .out_dir(&d)
        .compile_fds(set.clone())
        .map_err(|e| e.to_string())?;
    out.push(("am-server/src/generated/ingest_server.rs".into(), header(&read(&d.join("am.v1.rs"))?)));

    out.push(("am-schema/src/generated/shapes.rs".into(), header(shapes::render(set)?.as_bytes())));
    Ok(())
}

fn header(code: &[u8]) -> Vec<u8> {
    [b"// Generated by `cargo xtask codegen` from am-schema/proto. Do not edit.\n", code].concat()
}
