//! The calls of ONNX Runtime's C interface that `ort` has no way to make without copying or allocating: tensors over
//! the caller's memory, and `Run` on them. All `unsafe` of inference is here, inside [`Bindings::run`].

use std::ffi::{CString, c_char, c_void};
use std::ptr::NonNull;

use ort::{AsPointer, ortsys, sys};

use super::Buffer;
use crate::network::{Element, Signature, TensorSpec};

/// Bindings kept at most; a run of another size or on other buffers makes a new one.
const BOUND_MAX: usize = 64;

/// Type and sizes of a tensor.
pub(super) type Shape = (sys::ONNXTensorElementDataType, Vec<i64>);

/// A graph's names as the C interface takes them, and the tensors of runs so far.
pub(super) struct Bindings {
    signature: Signature,
    /// Inputs, then states.
    inputs: Vec<TensorSpec>,
    /// Outputs, then states.
    outputs: Vec<TensorSpec>,
    input_names: Names,
    output_names: Names,
    memory: MemoryInfo,
    bound: Vec<Bound>,
}

impl Bindings {
    pub(super) fn new(signature: &Signature) -> ort::Result<Self> {
        let (inputs, outputs) = (signature.taken(), signature.given());
        Ok(Bindings {
            signature: signature.clone(),
            input_names: Names::new(inputs.iter().map(|tensor| tensor.name.as_str()))?,
            output_names: Names::new(outputs.iter().map(|tensor| tensor.name.as_str()))?,
            inputs,
            outputs,
            memory: MemoryInfo::new()?,
            bound: Vec::new(),
        })
    }

    pub(super) fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Outputs, then states as they come out.
    pub(super) fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// Runs `t` steps of `b` sequences. Buffers that stay where they were in an earlier run of that size cost nothing
    /// to bind again.
    #[allow(unsafe_code)]
    pub(super) fn run(
        &mut self,
        session: &mut ort::session::Session,
        t: usize,
        b: usize,
        inputs: &[Buffer],
        outputs: &mut [Buffer],
    ) -> ort::Result<()> {
        let at = self.bind(t, b, inputs, outputs)?;
        let bound = &mut self.bound[at];
        // SAFETY: the tensors of `bound` lie over the very memory of the buffers (`bind` compared or took their
        // addresses, and checked their lengths), which stay borrowed until this function returns; outputs are borrowed
        // mutably, so nothing aliases them. ONNX Runtime writes into output tensors that it is given and doesn't
        // replace them.
        unsafe { call(session, &self.input_names, &bound.inputs, &self.output_names, &mut bound.outputs) }
    }

    /// Runs `t` steps of `b` sequences and gives only the type and sizes of each output as the graph makes it: what
    /// it declares can be wrong. `None`: not a tensor.
    #[allow(unsafe_code)]
    pub(super) fn found(
        &mut self,
        session: &mut ort::session::Session,
        t: usize,
        b: usize,
        inputs: &[Buffer],
    ) -> ort::Result<Vec<Option<Shape>>> {
        let bound = self.bound_to(t, b, inputs, &[])?;
        let mut made = Made(vec![std::ptr::null_mut(); self.outputs.len()]);
        // SAFETY: as in `run`, but ONNX Runtime makes the outputs, which `Made` releases.
        unsafe { call(session, &self.input_names, &bound.inputs, &self.output_names, &mut made.0)? };
        made.0.iter().map(|value| sizes_of(*value)).collect()
    }

    /// Index of the binding of these buffers, made if there is none.
    fn bind(&mut self, t: usize, b: usize, inputs: &[Buffer], outputs: &[Buffer]) -> ort::Result<usize> {
        let addresses = || inputs.iter().chain(outputs).map(|buffer| buffer.bytes().as_ptr());
        let fits = |bound: &Bound| bound.t == t && bound.b == b && bound.addresses.iter().copied().eq(addresses());
        self.check_lengths(t, b, inputs, outputs, self.outputs.len())?;
        if let Some(at) = self.bound.iter().position(fits) {
            return Ok(at);
        }
        if self.bound.len() >= BOUND_MAX {
            self.bound.clear();
        }
        let bound = self.bound_to(t, b, inputs, outputs)?;
        self.bound.push(bound);
        Ok(self.bound.len() - 1)
    }

    fn bound_to(&self, t: usize, b: usize, inputs: &[Buffer], outputs: &[Buffer]) -> ort::Result<Bound> {
        self.check_lengths(t, b, inputs, outputs, outputs.len())?;
        let addresses = inputs.iter().chain(outputs).map(|buffer| buffer.bytes().as_ptr()).collect();
        let mut bound = Bound { t, b, addresses, inputs: Vec::new(), outputs: Vec::new() };
        for (spec, buffer) in self.inputs.iter().zip(inputs) {
            bound.inputs.push(tensor(&self.memory, buffer, spec, &spec.sizes(t, b))?);
        }
        for (spec, buffer) in self.outputs.iter().zip(outputs) {
            bound.outputs.push(tensor(&self.memory, buffer, spec, &spec.sizes(t, b))?);
        }
        Ok(bound)
    }

    fn check_lengths(
        &self,
        t: usize,
        b: usize,
        inputs: &[Buffer],
        outputs: &[Buffer],
        given: usize,
    ) -> ort::Result<()> {
        let long = |specs: &[TensorSpec], buffers: &[Buffer]| {
            specs
                .iter()
                .zip(buffers)
                .all(|(spec, buffer)| buffer.bytes().len() >= spec.numbers(t, b) * spec.element.bytes())
        };
        if inputs.len() == self.inputs.len()
            && outputs.len() == given
            && long(&self.inputs, inputs)
            && long(&self.outputs, outputs)
        {
            return Ok(());
        }
        let shown = |specs: &[TensorSpec], buffers: &[Buffer]| {
            let bytes: Vec<usize> = buffers.iter().map(|buffer| buffer.bytes().len()).collect();
            let specs: Vec<String> = specs.iter().map(TensorSpec::describe).collect();
            format!("{bytes:?} bytes for {}", specs.join(", "))
        };
        Err(ort::Error::new(format!(
            "buffers are too short or too few for {t} steps of {b} sequences: in {}; out {}",
            shown(&self.inputs, inputs),
            shown(&self.outputs, outputs)
        )))
    }
}

/// Tensors that ONNX Runtime made.
struct Made(Vec<*mut sys::OrtValue>);

impl Drop for Made {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        for value in self.0.iter().filter(|value| !value.is_null()) {
            // SAFETY: made by `Run`, released once.
            ortsys![unsafe ReleaseValue(*value)];
        }
    }
}

/// Type and sizes of a value; `None`: not a tensor.
#[allow(unsafe_code)]
fn sizes_of(value: *mut sys::OrtValue) -> ort::Result<Option<Shape>> {
    let mut is_tensor = 0;
    // SAFETY: a value that `Run` made, or null, which is asked nothing; a valid place for the answer. So below.
    if !value.is_null() {
        ortsys![unsafe IsTensor(value, &mut is_tensor)?];
    }
    if is_tensor == 0 {
        return Ok(None);
    }
    let mut info = Info(std::ptr::null_mut());
    ortsys![unsafe GetTensorTypeAndShape(value, &mut info.0)?];
    let (mut element, mut rank) = (sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, 0);
    ortsys![unsafe GetTensorElementType(info.0, &mut element)?];
    ortsys![unsafe GetDimensionsCount(info.0, &mut rank)?];
    let mut sizes = vec![0; rank];
    ortsys![unsafe GetDimensions(info.0, sizes.as_mut_ptr(), rank)?];
    Ok(Some((element, sizes)))
}

/// Type and shape as ONNX Runtime hands them out.
struct Info(*mut sys::OrtTensorTypeAndShapeInfo);

impl Drop for Info {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by `GetTensorTypeAndShape`, released once.
            ortsys![unsafe ReleaseTensorTypeAndShapeInfo(self.0)];
        }
    }
}

/// Runs a graph.
///
/// # Safety
/// Inputs are valid tensors over memory that stays borrowed; so are outputs, borrowed mutably, or they are null.
#[allow(unsafe_code)]
unsafe fn call(
    session: &mut ort::session::Session,
    input_names: &Names,
    inputs: &[*mut sys::OrtValue],
    output_names: &Names,
    outputs: &mut [*mut sys::OrtValue],
) -> ort::Result<()> {
    debug_assert_eq!((input_names.pointers.len(), output_names.pointers.len()), (inputs.len(), outputs.len()));
    // SAFETY: as the caller says; names and values are as many as said and valid.
    unsafe {
        ort::Error::result_from_status((ort::api().Run)(
            session.ptr_mut(),
            std::ptr::null(),
            input_names.pointers.as_ptr(),
            inputs.as_ptr().cast::<*const sys::OrtValue>(),
            inputs.len(),
            output_names.pointers.as_ptr(),
            outputs.len(),
            outputs.as_mut_ptr(),
        ))
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
    addresses: Vec<*const u8>,
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

/// A tensor over a buffer, of these sizes.
#[allow(unsafe_code)]
fn tensor(memory: &MemoryInfo, buffer: &Buffer, spec: &TensorSpec, sizes: &[usize]) -> ort::Result<*mut sys::OrtValue> {
    let bytes = sizes.iter().product::<usize>() * spec.element.bytes();
    let shape: Vec<i64> = sizes.iter().map(|size| *size as i64).collect();
    let mut value = std::ptr::null_mut();
    // SAFETY: this only records the address; see `Bound` for when it is used. `shape` is copied. The memory is as long
    // as `check_lengths` says.
    ortsys![unsafe CreateTensorWithDataAsOrtValue(
        memory.0.as_ptr(),
        buffer.bytes().as_ptr().cast_mut().cast::<c_void>(),
        bytes,
        shape.as_ptr(),
        shape.len(),
        of_c(spec.element),
        &mut value
    )?];
    Ok(value)
}

/// A type as the C interface names it.
pub(super) fn of_c(element: Element) -> sys::ONNXTensorElementDataType {
    use sys::ONNXTensorElementDataType as Type;
    match element {
        Element::Float32 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        Element::Float16 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        Element::Float64 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        Element::Int64 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        Element::Int32 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        Element::Bool => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
    }
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
