//! The device that networks run on: what is missing is refused before anything starts, and `auto` says what it took.

use kolk::kernel::CellKind;
use kolk::model::ModelKind;

use super::common::*;

#[test]
fn a_device_that_is_not_there_is_refused_with_all_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish(folder, "m", CellKind::Gru, ModelKind::Carry, None);
    write(&folder.join("data.parquet"), &series(2, 20), 100);
    let with = |device: &str| {
        let file = pipeline(folder, "model: m", "parquet: { path: out/ }", &format!("runtime: {{ device: {device} }}"));
        file.to_str().unwrap().to_string()
    };
    for wrong in ["gpu", "\"cuda:\"", "cuda:-1", "cuda:1000", "[cuda]"] {
        let (_, said) = kolk_exits(2, &["check", &with(wrong)]);
        assert!(said.contains(":12:20: ") && said.contains("`device`: expected one of: cpu, cuda, cuda:1"), "{said}");
    }
    // No machine has so many, whatever else it has.
    let many = with("cuda:999");
    for command in ["check", "run"] {
        let (_, said) = kolk_exits(2, &[command, &many]);
        assert!(said.contains(":12:20: ") && said.contains("networks can't run on cuda:999; missing:"), "{said}");
        if !said.contains("device cuda:999: the driver has") {
            for library in
                ["libcuda.so.1", "libcudart.so.13", "libcublasLt.so.13", "libcudnn.so.9", "make onnxruntime-gpu"]
            {
                assert!(said.contains(library), "{library}: {said}");
            }
        }
    }
    assert!(!folder.join("out").exists());
    // Without a network there is nothing to put anywhere.
    let text = std::fs::read_to_string(&many).unwrap().replace("infer: { model: m }", "filter: { where: value > 0 }");
    std::fs::write(&many, text).unwrap();
    kolk_exits(0, &["check", &many]);
    let auto = with("auto");
    let (_, said) = kolk_exits(0, &["check", &auto]);
    assert!(said.contains("device auto: networks run on "), "{said}");
    let (_, said) = kolk_exits(0, &["run", &auto]);
    assert!(said.contains("device auto: networks run on "), "{said}");
}
