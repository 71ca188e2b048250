//! Matrix products by cuBLASLt, with bias, GELU and addition in its epilogues.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;

use clipn_model::Precision;

use crate::cuda::CudaBuffer;
use crate::cuda::api::{CublasLt, Handle, HeuristicResult};
use crate::cuda::context::{Context, Memory};
use crate::error::DeviceError;
use crate::op::{ElementKind, Gemm, Operand};

// Constants of cublasLt.h and library_types.h.
const COMPUTE_32F: c_int = 68;
const R_32F: c_int = 0;
const R_16F: c_int = 2;
const R_16BF: c_int = 14;
const TRANS_A: c_int = 3;
const TRANS_B: c_int = 4;
const EPILOGUE: c_int = 7;
const BIAS_POINTER: c_int = 8;
const BIAS_TYPE: c_int = 26;
const EPILOGUE_BIAS: c_int = 4;
const EPILOGUE_GELU_BIAS: c_int = 36;
const MAX_WORKSPACE: c_int = 1;
const REDUCTION_SCHEMES: c_int = 3;

/// Memory that algorithms may use, in bytes: what NVIDIA recommends for Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;

/// Rows for which an algorithm is chosen. It is then used at every number of rows, so that the results of
/// an image do not depend on its batch.
const REFERENCE_ROWS: usize = 12_800;

/// The library with its handle and workspace.
#[derive(Debug)]
pub(super) struct Products {
    library: CublasLt,
    handle: Handle,
    workspace: Memory,
    context: Arc<Context>,
}

// SAFETY: cuBLASLt's functions may be called from any thread with one handle.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Sync for Products {}

impl Products {
    pub(super) fn new(library: CublasLt, context: &Arc<Context>) -> Result<Self, DeviceError> {
        context.current()?;
        let mut handle = ptr::null_mut();
        // SAFETY: the context is current; writes a handle.
        let status = unsafe { (library.create)(&mut handle) };
        check(context, "opening cuBLASLt", status)?;
        Ok(Self {
            library,
            handle,
            workspace: Memory::zeros(context, WORKSPACE_BYTES)?,
            context: Arc::clone(context),
        })
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        // SAFETY: the handle is not used after this.
        unsafe { (self.library.destroy)(self.handle) };
    }
}

fn check(context: &Context, call: &'static str, status: c_int) -> Result<(), DeviceError> {
    match status {
        0 => Ok(()),
        _ => Err(DeviceError::Backend {
            device: context.description.name.clone(),
            call,
            message: format!("cuBLAS status {status}"),
        }),
    }
}

/// Whether the epilogue of a product computes its activation. cuBLASLt's GELU is the approximation by tanh,
/// which differs from the exact one by up to 5e-4. That is less than bf16 resolves of a value above 0.13; the small values
/// of a negative argument are less exact, and count little in the sums that follow.
pub(super) fn has_fused_activation(gemm: &Gemm<CudaBuffer>, precision: Precision) -> bool {
    gemm.activation == Some(clipn_model::Activation::Gelu)
        && precision == Precision::Bf16
        && gemm.bias.is_some()
        && gemm.addend.is_none()
        && !gemm.accumulate
}

/// A handle that is destroyed with its function.
#[derive(Debug)]
struct Owned {
    handle: Handle,
    destroy: unsafe extern "C" fn(Handle) -> c_int,
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the handle was made for this function, and is not used after this.
        unsafe { (self.destroy)(self.handle) };
    }
}

/// A prepared product. cuBLASLt stores matrices by columns: it computes the transpose,
/// `outᵀ = bᵀ · aᵀ`.
#[derive(Debug)]
pub(super) struct Plan {
    gemm: Gemm<CudaBuffer>,
    description: Owned,
    /// Layouts of bᵀ, aᵀ and outᵀ.
    layouts: [Owned; 3],
    algorithm: HeuristicResult,
    products: Arc<Products>,
}

// SAFETY: the handles are only read after they are made.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

impl Plan {
    pub(super) fn new(
        products: &Arc<Products>,
        gemm: &Gemm<CudaBuffer>,
        precision: Precision,
    ) -> Result<Self, DeviceError> {
        products.context.current()?;
        let description = products.description(gemm, precision)?;
        let layouts = products.layouts(gemm, precision, gemm.m)?;
        let mut algorithm = None;
        // A sum over rows, such as a gradient of weights, has no other number of rows.
        if !gemm.a.transposed {
            let reference = products.layouts(gemm, precision, REFERENCE_ROWS)?;
            let chosen = products.choose(&description, &reference)?;
            algorithm = chosen.filter(|chosen| products.supports(&description, &layouts, chosen));
        }
        let algorithm = match algorithm {
            Some(algorithm) => Some(algorithm),
            None => products.choose(&description, &layouts)?,
        };
        let Some(algorithm) = algorithm else {
            return Err(DeviceError::Backend {
                device: products.context.description.name.clone(),
                call: "choosing an algorithm of a product",
                message: format!("none for {} × {} × {}", gemm.m, gemm.n, gemm.k),
            });
        };
        Ok(Self {
            gemm: gemm.clone(),
            description,
            layouts,
            algorithm,
            products: Arc::clone(products),
        })
    }

    pub(super) fn run(&self) -> Result<(), DeviceError> {
        let products = &self.products;
        products.context.current()?;
        let gemm = &self.gemm;
        let pointer = |buffer: &CudaBuffer| buffer.pointer() as *mut c_void;
        let out = pointer(&gemm.out);
        let addend = match &gemm.addend {
            Some(addend) => pointer(addend),
            None => out,
        };
        let adds = gemm.accumulate || gemm.addend.is_some();
        let (alpha, beta) = (1.0f32, if adds { 1.0f32 } else { 0.0 });
        // SAFETY: the operands have the checked sizes of the layouts, and the workspace that of the
        // algorithm; the handles live as long as `self`.
        let status = unsafe {
            (products.library.matmul)(
                products.handle,
                self.description.handle,
                (&raw const alpha).cast(),
                pointer(&gemm.b.buffer),
                self.layouts[0].handle,
                pointer(&gemm.a.buffer),
                self.layouts[1].handle,
                (&raw const beta).cast(),
                addend,
                self.layouts[2].handle,
                out,
                self.layouts[2].handle,
                &self.algorithm.algorithm,
                products.workspace.pointer as *mut c_void,
                WORKSPACE_BYTES,
                products.context.stream,
            )
        };
        check(&products.context, "a matrix product", status)
    }
}

fn compute_type(precision: Precision) -> c_int {
    match precision {
        Precision::F32 => R_32F,
        Precision::F16 => R_16F,
        _ => R_16BF,
    }
}

fn element_type(buffer: &CudaBuffer, precision: Precision) -> c_int {
    match buffer.kind {
        ElementKind::Compute => compute_type(precision),
        _ => R_32F,
    }
}

impl Products {
    fn description(
        &self,
        gemm: &Gemm<CudaBuffer>,
        precision: Precision,
    ) -> Result<Owned, DeviceError> {
        let mut handle = ptr::null_mut();
        // SAFETY: writes a handle.
        let status = unsafe { (self.library.create_description)(&mut handle, COMPUTE_32F, R_32F) };
        check(&self.context, "describing a product", status)?;
        let description = Owned {
            handle,
            destroy: self.library.destroy_description,
        };
        // A stored row-major matrix is the transpose of itself by columns.
        let is_transposed = |operand: &Operand<CudaBuffer>| c_int::from(operand.transposed);
        self.set(&description, TRANS_A, &is_transposed(&gemm.b))?;
        self.set(&description, TRANS_B, &is_transposed(&gemm.a))?;
        if let Some(bias) = &gemm.bias {
            let epilogue = match has_fused_activation(gemm, precision) {
                true => EPILOGUE_GELU_BIAS,
                false => EPILOGUE_BIAS,
            };
            self.set(&description, EPILOGUE, &epilogue)?;
            self.set(&description, BIAS_POINTER, &bias.pointer())?;
            self.set(&description, BIAS_TYPE, &element_type(bias, precision))?;
        }
        Ok(description)
    }

    fn set<T>(&self, description: &Owned, attribute: c_int, value: &T) -> Result<(), DeviceError> {
        let (pointer, size) = (ptr::from_ref(value).cast(), size_of::<T>());
        // SAFETY: the value has this size, and is copied.
        let status =
            unsafe { (self.library.set_description)(description.handle, attribute, pointer, size) };
        check(&self.context, "describing a product", status)
    }

    /// Layouts of bᵀ, aᵀ and outᵀ by columns, for `m` rows of `a`.
    fn layouts(
        &self,
        gemm: &Gemm<CudaBuffer>,
        precision: Precision,
        m: usize,
    ) -> Result<[Owned; 3], DeviceError> {
        let format = |buffer: &CudaBuffer| element_type(buffer, precision);
        let operand = |operand: &Operand<CudaBuffer>, rows: usize, columns: usize| {
            // Stored rows are columns here.
            let (rows, columns) = match operand.transposed {
                true => (rows, columns),
                false => (columns, rows),
            };
            self.layout(format(&operand.buffer), (rows, columns), operand.stride)
        };
        Ok([
            operand(&gemm.b, gemm.k, gemm.n)?,
            operand(&gemm.a, m, gemm.k)?,
            self.layout(format(&gemm.out), (gemm.n, m), gemm.n)?,
        ])
    }

    fn layout(
        &self,
        format: c_int,
        (rows, columns): (usize, usize),
        stride: usize,
    ) -> Result<Owned, DeviceError> {
        let mut handle = ptr::null_mut();
        let create = self.library.create_layout;
        // SAFETY: writes a handle.
        let status = unsafe {
            create(
                &mut handle,
                format,
                rows as u64,
                columns as u64,
                stride as i64,
            )
        };
        check(&self.context, "describing a matrix", status)?;
        Ok(Owned {
            handle,
            destroy: self.library.destroy_layout,
        })
    }

    /// Chooses an algorithm that sums in one order, without splitting the sums.
    fn choose(
        &self,
        description: &Owned,
        layouts: &[Owned; 3],
    ) -> Result<Option<HeuristicResult>, DeviceError> {
        let mut handle = ptr::null_mut();
        // SAFETY: writes a handle.
        let status = unsafe { (self.library.create_preference)(&mut handle) };
        check(&self.context, "choosing an algorithm", status)?;
        let preference = Owned {
            handle,
            destroy: self.library.destroy_preference,
        };
        let (bytes, no_reduction) = (WORKSPACE_BYTES as u64, 0u32);
        let mut result = HeuristicResult::default();
        let mut found = 0;
        // SAFETY: the values have the sizes of their attributes; one result is written at most.
        let statuses = unsafe {
            let set = self.library.set_preference;
            let first = set(handle, MAX_WORKSPACE, (&raw const bytes).cast(), 8);
            let second = set(
                handle,
                REDUCTION_SCHEMES,
                (&raw const no_reduction).cast(),
                4,
            );
            let third = (self.library.heuristic)(
                self.handle,
                description.handle,
                layouts[0].handle,
                layouts[1].handle,
                layouts[2].handle,
                layouts[2].handle,
                preference.handle,
                1,
                &mut result,
                &mut found,
            );
            [first, second, third]
        };
        for status in &statuses[..2] {
            check(&self.context, "choosing an algorithm", *status)?;
        }
        // A status of the heuristic itself means that there is no algorithm.
        let is_found = statuses[2] == 0 && found > 0 && result.state == 0;
        Ok(is_found.then_some(result))
    }

    /// Whether an algorithm that was chosen for other layouts computes these.
    fn supports(
        &self,
        description: &Owned,
        layouts: &[Owned; 3],
        algorithm: &HeuristicResult,
    ) -> bool {
        let mut result = HeuristicResult::default();
        // SAFETY: all handles exist; a result is written.
        let status = unsafe {
            (self.library.check)(
                self.handle,
                description.handle,
                layouts[0].handle,
                layouts[1].handle,
                layouts[2].handle,
                layouts[2].handle,
                &algorithm.algorithm,
                &mut result,
            )
        };
        status == 0 && result.state == 0 && result.workspace_bytes <= WORKSPACE_BYTES
    }
}
