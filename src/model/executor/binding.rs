//! The calls of ONNX Runtime's C interface that `ort` has no way to make without copying or allocating: tensors over
//! the caller's memory, and `Run` on them. All `unsafe` of inference is here, inside [`Bindings::run`].

use std::ffi::{CString, c_char, c_void};
use std::ptr::NonNull;

use ort::{AsPointer, ortsys, sys};

use super::Signature;
use crate::network::StatePair;

/// Bindings kept at most; a run of another size or on other buffers makes a new one.
const BOUND_MAX: usize = 64;

/// The buffers of one run: `x` [t, b, features] and states [b, shape] in, `y` [t, b, outputs] and states out.
pub(super) struct Buffers<'a, 'b> {
    pub(super) x: &'a [f32],
    pub(super) states: &'a [&'a [f32]],
    pub(super) y: &'a mut [f32],
    pub(super) states_out: &'a mut [&'b mut [f32]],
}

/// A graph's names as the C interface takes them, and the tensors of runs so far.
pub(super) struct Bindings {
    signature: Signature,
    input_names: Names,
    output_names: Names,
    memory: MemoryInfo,
    bound: Vec<Bound>,
}

impl Bindings {
    pub(super) fn new(signature: &Signature) -> ort::Result<Self> {
        let states = &signature.states;
        Ok(Bindings {
            signature: signature.clone(),
            input_names: Names::new(std::iter::once("x").chain(states.iter().map(|pair| pair.input.as_str())))?,
            output_names: Names::new(std::iter::once("y").chain(states.iter().map(|pair| pair.output.as_str())))?,
            memory: MemoryInfo::new()?,
            bound: Vec::new(),
        })
    }

    pub(super) fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Runs `t` steps of `b` rows. Buffers that stay where they were in an earlier run of that size cost nothing to
    /// bind again.
    #[allow(unsafe_code)]
    pub(super) fn run(
        &mut self,
        session: &mut ort::session::Session,
        t: usize,
        b: usize,
        buffers: Buffers<'_, '_>,
    ) -> ort::Result<()> {
        self.check_lengths(t, b, &buffers)?;
        let at = self.bind(t, b, &buffers)?;
        let bound = &mut self.bound[at];
        // SAFETY: names and values are as many as said and valid. The tensors of `bound` lie over the very slices of
        // `buffers` (`bind` compared or took their addresses, `check_lengths` their lengths), which stay borrowed until
        // this function returns; outputs are borrowed mutably, so nothing aliases them. ONNX Runtime writes into output
        // tensors that it is given and doesn't replace them.
        unsafe {
            ort::Error::result_from_status((ort::api().Run)(
                session.ptr_mut(),
                std::ptr::null(),
                self.input_names.pointers.as_ptr(),
                bound.inputs.as_ptr().cast::<*const sys::OrtValue>(),
                bound.inputs.len(),
                self.output_names.pointers.as_ptr(),
                bound.outputs.len(),
                bound.outputs.as_mut_ptr(),
            ))
        }
    }

    fn check_lengths(&self, t: usize, b: usize, buffers: &Buffers<'_, '_>) -> ort::Result<()> {
        let Buffers { x, states, y, states_out } = buffers;
        let Signature { features, states: pairs, outputs } = &self.signature;
        let fits = x.len() >= t * b * features
            && y.len() >= t * b * outputs
            && states.len() == pairs.len()
            && states_out.len() == pairs.len()
            && pairs.iter().zip(states.iter()).all(|(pair, state)| state.len() >= b * pair.width())
            && pairs.iter().zip(states_out.iter()).all(|(pair, state)| state.len() >= b * pair.width());
        if fits {
            return Ok(());
        }
        Err(ort::Error::new(format!(
            "buffers are too short or too few: x {}, y {}, states {:?} in, {:?} out; the graph has {features} \
             features, \
             {outputs} outputs, states of {:?}",
            x.len(),
            y.len(),
            states.iter().map(|state| state.len()).collect::<Vec<_>>(),
            states_out.iter().map(|state| state.len()).collect::<Vec<_>>(),
            pairs.iter().map(StatePair::width).collect::<Vec<_>>(),
        )))
    }

    /// Index of the binding of these buffers, made if there is none.
    fn bind(&mut self, t: usize, b: usize, buffers: &Buffers<'_, '_>) -> ort::Result<usize> {
        let Buffers { x, states, y, states_out } = buffers;
        let addresses = || {
            let inputs = std::iter::once(x.as_ptr()).chain(states.iter().map(|state| state.as_ptr()));
            inputs.chain([y.as_ptr()]).chain(states_out.iter().map(|state| state.as_ptr()))
        };
        let same = |bound: &Bound| bound.t == t && bound.b == b && bound.addresses.iter().copied().eq(addresses());
        if let Some(at) = self.bound.iter().position(same) {
            return Ok(at);
        }
        if self.bound.len() >= BOUND_MAX {
            self.bound.clear();
        }
        let Signature { features, states: pairs, outputs } = &self.signature;
        let mut bound = Bound { t, b, addresses: addresses().collect(), inputs: Vec::new(), outputs: Vec::new() };
        let mut shapes = vec![vec![t, b, *features]];
        shapes.extend(pairs.iter().map(|pair| pair.batched(b)));
        shapes.push(vec![t, b, *outputs]);
        shapes.extend(pairs.iter().map(|pair| pair.batched(b)));
        for (i, shape) in shapes.iter().enumerate() {
            let value = tensor(&self.memory, bound.addresses[i], shape)?;
            let list = if i <= pairs.len() { &mut bound.inputs } else { &mut bound.outputs };
            list.push(value);
        }
        self.bound.push(bound);
        Ok(self.bound.len() - 1)
    }
}

/// Names as C strings, and the pointers to them in a row.
struct Names {
    pointers: Vec<*const c_char>,
    _owned: Vec<CString>,
}

impl Names {
    fn new<'a>(names: impl Iterator<Item = &'a str>) -> ort::Result<Self> {
        let c_string = |name: &str| CString::new(name).map_err(|_| ort::Error::new(format!("{name:?} holds a NUL")));
        let owned = names.map(c_string).collect::<ort::Result<Vec<_>>>()?;
        Ok(Names { pointers: owned.iter().map(|name| name.as_ptr()).collect(), _owned: owned })
    }
}

/// Tensors of ONNX Runtime over the buffers of one run, memory that they don't own: only [`Bindings::run`] lets ONNX
/// Runtime touch them, and only while that memory is borrowed.
struct Bound {
    t: usize,
    b: usize,
    /// Inputs, then outputs; only compared.
    addresses: Vec<*const f32>,
    inputs: Vec<*mut sys::OrtValue>,
    outputs: Vec<*mut sys::OrtValue>,
}

impl Drop for Bound {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        for value in self.inputs.iter().chain(&self.outputs) {
            // SAFETY: made by `tensor`, released once; the memory below it isn't ONNX Runtime's and stays.
            ortsys![unsafe ReleaseValue(*value)];
        }
    }
}

/// A tensor over `address`, as long as `shape` says.
#[allow(unsafe_code)]
fn tensor(memory: &MemoryInfo, address: *const f32, shape: &[usize]) -> ort::Result<*mut sys::OrtValue> {
    let bytes = shape.iter().product::<usize>() * size_of::<f32>();
    let shape: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
    let mut value = std::ptr::null_mut();
    // SAFETY: this only records the address; see `Bound` for when it is used. `shape` is copied.
    ortsys![unsafe CreateTensorWithDataAsOrtValue(
        memory.0.as_ptr(),
        address.cast_mut().cast::<c_void>(),
        bytes,
        shape.as_ptr(),
        shape.len(),
        sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        &mut value
    )?];
    Ok(value)
}

/// ONNX Runtime's word for plain memory.
struct MemoryInfo(NonNull<sys::OrtMemoryInfo>);

impl MemoryInfo {
    #[allow(unsafe_code)]
    fn new() -> ort::Result<Self> {
        let mut info = std::ptr::null_mut();
        // SAFETY: `info` is a valid place for the result, which `drop` releases.
        ortsys![unsafe CreateCpuMemoryInfo(
            sys::OrtAllocatorType::OrtArenaAllocator,
            sys::OrtMemType::OrtMemTypeDefault,
            &mut info
        )?; nonNull(info)];
        Ok(MemoryInfo(info))
    }
}

impl Drop for MemoryInfo {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: made by `CreateCpuMemoryInfo`, released once.
        ortsys![unsafe ReleaseMemoryInfo(self.0.as_ptr())];
    }
}

// SAFETY: ONNX Runtime binds none of these objects to a thread, and all are used through `&mut Session` only: by one
// thread at a time. Addresses are compared, never read through.
#[allow(unsafe_code)]
unsafe impl Send for Bindings {}
