//! The device that networks run on: chosen once per process, before anything starts, and never left silently.
//!
//! Lives here: what CUDA needs and what of it is missing, and whether a loaded graph is on the device. Must not live
//! here: sessions (`ort`), and where libraries are (`library`).

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use ort::{AsPointer, sys};

use super::library;
use crate::config::Device;
use crate::{Error, Result};

/// The CUDA device; -1: the CPU.
static CUDA: AtomicI32 = AtomicI32::new(-1);

/// What ONNX Runtime's CUDA provider loads, each after those that it needs. cuDNN, cuFFT and NVRTC are loaded late, so
/// a session alone would not miss them.
const LIBRARIES: [&str; 8] = [
    "libcuda.so.1",
    "libcudart.so.13",
    "libcublasLt.so.13",
    "libcublas.so.13",
    "libcurand.so.10",
    "libcufft.so.12",
    "libnvrtc.so.13",
    "libcudnn.so.9",
];
const DRIVER: &str = LIBRARIES[0];
const PROVIDER: &str = "libonnxruntime_providers_cuda.so";

/// Operators that only make, move, shape, compare or select numbers: wherever they run, they give the same bits. ONNX
/// Runtime keeps those that compute shapes on the CPU.
const EXACT: [&str; 29] = [
    "And",
    "Cast",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Equal",
    "Expand",
    "Gather",
    "GatherElements",
    "GatherND",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "Less",
    "LessOrEqual",
    "MemcpyFromHost",
    "MemcpyToHost",
    "Not",
    "Or",
    "Range",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Chooses the device of this process' networks; says what `auto` took.
///
/// # Errors
/// Refused with all that a CUDA device needs and that is missing.
pub fn choose(wanted: Device) -> Result<Option<String>> {
    let (device, said) = match wanted {
        Device::Cpu => (-1, None),
        Device::Cuda(device) => {
            let missing = missing(device);
            if !missing.is_empty() {
                return Err(Error::refused(format!(
                    "networks can't run on cuda:{device}; missing:\n  {}",
                    missing.join("\n  ")
                )));
            }
            (device, None)
        }
        Device::Auto => match missing(0) {
            missing if missing.is_empty() => (0, Some("device auto: networks run on cuda:0".to_string())),
            missing => (
                -1,
                Some(format!("device auto: networks run on the CPU; for CUDA are missing: {}", missing.join("; "))),
            ),
        },
    };
    CUDA.store(device, Ordering::Relaxed);
    Ok(said)
}

/// The CUDA device of this process; `None`: the CPU.
pub fn cuda() -> Option<i32> {
    Some(CUDA.load(Ordering::Relaxed)).filter(|device| *device >= 0)
}

/// Everything that a device needs and that isn't there, a line each.
fn missing(device: i32) -> Vec<String> {
    let mut missing = Vec::new();
    let provider = library::gpu_candidates().into_iter().any(|path| path.with_file_name(PROVIDER).is_file());
    if !provider {
        let places: Vec<String> = library::gpu_candidates()
            .iter()
            .filter_map(|path| path.parent().filter(|folder| !folder.as_os_str().is_empty()))
            .map(|folder: &Path| folder.display().to_string())
            .collect();
        missing.push(format!(
            "ONNX Runtime {} with CUDA ({PROVIDER} beside its library; get it with `make onnxruntime-gpu`, or set \
             ORT_DYLIB_PATH); searched: {}",
            library::PINNED,
            places.join(", ")
        ));
    }
    for name in LIBRARIES {
        if let Err(error) = open(name) {
            missing.push(error);
        } else if name == DRIVER
            && let Err(error) = has_device(device)
        {
            missing.push(error);
        }
    }
    missing
}

/// Opens a library by the dynamic linker's search, and keeps it open for those that need it.
#[allow(unsafe_code)]
fn open(name: &str) -> std::result::Result<(), String> {
    // SAFETY: these are NVIDIA's libraries, which the provider would load the same way.
    let library = unsafe { libloading::Library::new(name) }.map_err(|error| library::said(&error))?;
    std::mem::forget(library);
    Ok(())
}

/// Whether the driver works and has the device.
#[allow(unsafe_code)]
fn has_device(device: i32) -> std::result::Result<(), String> {
    let wrong = |what: &str| format!("a working NVIDIA driver: {DRIVER}: {what}");
    // SAFETY: `cuInit` and `cuDeviceGetCount` are the driver's documented entries with these signatures (cuda.h), and
    // `count` is a valid place for the result.
    unsafe {
        let driver = libloading::Library::new(DRIVER).map_err(|error| wrong(&error.to_string()))?;
        let init: libloading::Symbol<'_, unsafe extern "C" fn(c_uint) -> c_int> =
            driver.get(b"cuInit").map_err(|error| wrong(&error.to_string()))?;
        let count_of: libloading::Symbol<'_, unsafe extern "C" fn(*mut c_int) -> c_int> =
            driver.get(b"cuDeviceGetCount").map_err(|error| wrong(&error.to_string()))?;
        let mut count = 0;
        match (init(0), count_of(&mut count)) {
            (0, 0) if device < count => Ok(()),
            (0, 0) => Err(format!("device cuda:{device}: the driver has {count}, counted from 0")),
            (error, _) => Err(wrong(&format!("cuInit gives error {error}"))),
        }
    }
}

/// Refuses a session whose graph is partly on the CPU, by the names of these nodes. The session must have been made
/// with [`RECORD`].
pub(super) fn check(session: &ort::session::Session) -> Result<()> {
    let nodes = assignment(session)
        .map_err(|error| Error::failed(format!("ask ONNX Runtime which device each node is on: {error}")))?;
    refuse(nodes)
}

/// The session's option that makes ONNX Runtime remember which device each node is on.
pub(super) const RECORD: &str = "session.record_ep_graph_assignment_info";

fn refuse(nodes: Vec<Assigned>) -> Result<()> {
    let left: Vec<String> = nodes
        .into_iter()
        .filter(|node| node.provider != "CUDAExecutionProvider" && !EXACT.contains(&node.operator.as_str()))
        .map(|node| format!("{} \"{}\" ({})", node.operator, node.name, node.provider))
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "ONNX Runtime runs {} of the graph's nodes on the CPU, since it has no CUDA kernel for them: {}; write `device: \
         cpu`",
        left.len(),
        left.join(", ")
    )))
}

/// A node with the execution provider that runs it.
#[derive(Debug, Clone, PartialEq)]
struct Assigned {
    provider: String,
    name: String,
    operator: String,
}

/// Every node of a loaded graph.
#[allow(unsafe_code)]
fn assignment(session: &ort::session::Session) -> ort::Result<Vec<Assigned>> {
    let api = ort::api();
    let text =
        |get: unsafe extern "system" fn(*const sys::OrtEpAssignedNode, *mut *const c_char) -> sys::OrtStatusPtr,
         node: *const sys::OrtEpAssignedNode| {
            let mut text = ptr::null();
            // SAFETY: `node` is one that ONNX Runtime gave; the text is its own, NUL-terminated, and lives as long.
            unsafe {
                ort::Error::result_from_status(get(node, &mut text))?;
                Ok::<_, ort::Error>(CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
    let mut all = Vec::new();
    // SAFETY: the arrays and what they point to belong to the session, which is borrowed; lengths are those that ONNX
    // Runtime gives.
    unsafe {
        let (mut graphs, mut count) = (ptr::null(), 0);
        ort::Error::result_from_status((api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut graphs, &mut count))?;
        for at in 0..count {
            let graph = *graphs.add(at);
            let (mut provider, mut nodes, mut length) = (ptr::null(), ptr::null(), 0);
            ort::Error::result_from_status((api.EpAssignedSubgraph_GetEpName)(graph, &mut provider))?;
            ort::Error::result_from_status((api.EpAssignedSubgraph_GetNodes)(graph, &mut nodes, &mut length))?;
            for at in 0..length {
                let node = *nodes.add(at);
                all.push(Assigned {
                    provider: CStr::from_ptr(provider).to_string_lossy().into_owned(),
                    name: text(api.EpAssignedNode_GetName, node)?,
                    operator: text(api.EpAssignedNode_GetOperatorType, node)?,
                });
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::CellKind;
    use crate::model::onnx::export;
    use crate::network::testing::{plain, tensors};

    /// There is no GPU where this runs in CI; where there is one, nothing is missing.
    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let missing = missing(7);
        if open(DRIVER).is_ok() {
            return;
        }
        for name in LIBRARIES {
            assert!(missing.iter().any(|line| line.starts_with(name)) || open(name).is_ok(), "{name} in {missing:?}");
        }
        let message = choose(Device::Cuda(7)).unwrap_err();
        assert_eq!(message.exit_code(), 2);
        assert!(missing.iter().all(|line| message.to_string().contains(line)), "{message}");
        let said = choose(Device::Auto).unwrap().unwrap();
        assert!(said.starts_with("device auto: networks run on the CPU") && said.contains(DRIVER), "{said}");
        assert_eq!((choose(Device::Cpu).unwrap(), cuda()), (None, None));
    }

    /// With the CPU's provider every node is on the CPU, so all that compute are named.
    #[test]
    fn nodes_that_compute_elsewhere_are_refused_by_name() {
        let architecture = plain(2, &[(CellKind::Gru, 4)]);
        let onnx = export::onnx(&architecture, &tensors(&architecture, 1), "g").unwrap();
        let session = ort::session::Session::builder(&library::library().unwrap().environment)
            .unwrap()
            .with_config_entry(RECORD, "1")
            .unwrap()
            .commit_from_memory(&onnx)
            .unwrap();
        let message = check(&session).unwrap_err();
        assert_eq!(message.exit_code(), 2);
        let message = message.to_string();
        assert!(message.contains("GRU \"") && message.contains("(CPUExecutionProvider)"), "{message}");
        assert!(!message.contains("Squeeze \"") && !message.contains("Unsqueeze \""), "{message}");
        let nodes = assignment(&session).unwrap();
        assert!(nodes.iter().any(|node| node.operator == "Squeeze" || node.operator == "Unsqueeze"), "{nodes:?}");
        let on_cuda = nodes.into_iter().map(|node| Assigned { provider: "CUDAExecutionProvider".into(), ..node });
        refuse(on_cuda.collect()).unwrap();
    }
}
