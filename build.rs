//! Compiles `proto/onnx.proto` with protox, so that no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/onnx.proto");
    println!("cargo::rerun-if-changed=build.rs");
    let files = protox::compile(["onnx.proto"], ["proto"])?;
    prost_build::Config::new()
        // Indented examples in the comments of the proto file would be taken for doc tests.
        .disable_comments(["."])
        .compile_fds(files)?;
    Ok(())
}
