//! Functions of NVIDIA's libraries, called through pointers: a library that is absent is an error, and a
//! status is an integer, so that unknown ones are no problem.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use libloading::Library;

use crate::error::DeviceError;

/// Declares a table of functions of a library.
macro_rules! functions {
    ($(#[$meta:meta])* $table:ident { $($name:ident = $symbol:literal: fn($($argument:ty),* $(,)?);)* }) => {
        $(#[$meta])*
        pub(super) struct $table {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> c_int,)*
            // The functions are valid as long as the library is open.
            _library: Library,
        }

        impl std::fmt::Debug for $table {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($table)).finish_non_exhaustive()
            }
        }

        impl $table {
            /// Finds the functions of an opened library.
            ///
            /// # Errors
            /// [`DeviceError::MissingLibraries`] if it lacks one.
            pub(super) fn load(library: Library) -> Result<Self, DeviceError> {
                $(
                    // SAFETY: the type is that of NVIDIA's declaration of this function.
                    let $name = *unsafe {
                        library.get::<unsafe extern "C" fn($($argument),*) -> c_int>($symbol)
                    }
                    .map_err(|error| missing_symbol($symbol, &error))?;
                )*
                Ok(Self { $($name,)* _library: library })
            }
        }
    };
}

fn missing_symbol(symbol: &[u8], error: &libloading::Error) -> DeviceError {
    let name = String::from_utf8_lossy(symbol.strip_suffix(b"\0").unwrap_or(symbol)).into_owned();
    DeviceError::MissingLibraries {
        device: "CUDA",
        missing: vec![format!("the function {name}: {error}")],
    }
}

/// Address of memory on a GPU.
pub(super) type DevicePointer = u64;
/// Opaque handle of a library.
pub(super) type Handle = *mut c_void;

functions! {
    /// The driver.
    Driver {
        init = b"cuInit\0": fn(c_uint);
        error_string = b"cuGetErrorString\0": fn(c_int, *mut *const c_char);
        device_count = b"cuDeviceGetCount\0": fn(*mut c_int);
        device = b"cuDeviceGet\0": fn(*mut c_int, c_int);
        device_name = b"cuDeviceGetName\0": fn(*mut c_char, c_int, c_int);
        device_attribute = b"cuDeviceGetAttribute\0": fn(*mut c_int, c_int, c_int);
        device_memory = b"cuDeviceTotalMem_v2\0": fn(*mut usize, c_int);
        retain_context = b"cuDevicePrimaryCtxRetain\0": fn(*mut Handle, c_int);
        release_context = b"cuDevicePrimaryCtxRelease_v2\0": fn(c_int);
        set_context = b"cuCtxSetCurrent\0": fn(Handle);
        memory_info = b"cuMemGetInfo_v2\0": fn(*mut usize, *mut usize);
        allocate = b"cuMemAlloc_v2\0": fn(*mut DevicePointer, usize);
        free = b"cuMemFree_v2\0": fn(DevicePointer);
        copy_to_device = b"cuMemcpyHtoDAsync_v2\0": fn(DevicePointer, *const c_void, usize, Handle);
        copy_to_host = b"cuMemcpyDtoHAsync_v2\0": fn(*mut c_void, DevicePointer, usize, Handle);
        set_bytes = b"cuMemsetD8Async\0": fn(DevicePointer, u8, usize, Handle);
        create_stream = b"cuStreamCreate\0": fn(*mut Handle, c_uint);
        destroy_stream = b"cuStreamDestroy_v2\0": fn(Handle);
        synchronize = b"cuStreamSynchronize\0": fn(Handle);
        load_module = b"cuModuleLoadData\0": fn(*mut Handle, *const c_void);
        unload_module = b"cuModuleUnload\0": fn(Handle);
        function = b"cuModuleGetFunction\0": fn(*mut Handle, Handle, *const c_char);
        launch = b"cuLaunchKernel\0": fn(
            Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void,
            *mut *mut c_void,
        );
    }
}

functions! {
    /// The compiler of kernels.
    Nvrtc {
        create = b"nvrtcCreateProgram\0": fn(
            *mut Handle, *const c_char, *const c_char, c_int, *const *const c_char,
            *const *const c_char,
        );
        destroy = b"nvrtcDestroyProgram\0": fn(*mut Handle);
        compile = b"nvrtcCompileProgram\0": fn(Handle, c_int, *const *const c_char);
        log_size = b"nvrtcGetProgramLogSize\0": fn(Handle, *mut usize);
        log = b"nvrtcGetProgramLog\0": fn(Handle, *mut c_char);
        ptx_size = b"nvrtcGetPTXSize\0": fn(Handle, *mut usize);
        ptx = b"nvrtcGetPTX\0": fn(Handle, *mut c_char);
        cubin_size = b"nvrtcGetCUBINSize\0": fn(Handle, *mut usize);
        cubin = b"nvrtcGetCUBIN\0": fn(Handle, *mut c_char);
    }
}

/// Algorithm of a product, `cublasLtMatmulAlgo_t`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Algorithm {
    data: [u64; 8],
}

/// `cublasLtMatmulHeuristicResult_t`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct HeuristicResult {
    pub(super) algorithm: Algorithm,
    pub(super) workspace_bytes: usize,
    pub(super) state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

functions! {
    /// Matrix products.
    CublasLt {
        create = b"cublasLtCreate\0": fn(*mut Handle);
        destroy = b"cublasLtDestroy\0": fn(Handle);
        create_description = b"cublasLtMatmulDescCreate\0": fn(*mut Handle, c_int, c_int);
        destroy_description = b"cublasLtMatmulDescDestroy\0": fn(Handle);
        set_description = b"cublasLtMatmulDescSetAttribute\0": fn(Handle, c_int, *const c_void, usize);
        create_layout = b"cublasLtMatrixLayoutCreate\0": fn(*mut Handle, c_int, u64, u64, i64);
        destroy_layout = b"cublasLtMatrixLayoutDestroy\0": fn(Handle);
        create_preference = b"cublasLtMatmulPreferenceCreate\0": fn(*mut Handle);
        destroy_preference = b"cublasLtMatmulPreferenceDestroy\0": fn(Handle);
        set_preference = b"cublasLtMatmulPreferenceSetAttribute\0": fn(
            Handle, c_int, *const c_void, usize,
        );
        heuristic = b"cublasLtMatmulAlgoGetHeuristic\0": fn(
            Handle, Handle, Handle, Handle, Handle, Handle, Handle, c_int, *mut HeuristicResult,
            *mut c_int,
        );
        check = b"cublasLtMatmulAlgoCheck\0": fn(
            Handle, Handle, Handle, Handle, Handle, Handle, *const Algorithm, *mut HeuristicResult,
        );
        matmul = b"cublasLtMatmul\0": fn(
            Handle, Handle, *const c_void, *const c_void, Handle, *const c_void, Handle,
            *const c_void, *const c_void, Handle, *mut c_void, Handle, *const Algorithm, *mut c_void,
            usize, Handle,
        );
    }
}

impl Driver {
    /// Returns the driver's text of a status.
    pub(super) fn message(&self, status: c_int) -> String {
        let mut text = std::ptr::null();
        // SAFETY: the driver writes the address of a static string, or leaves it null.
        unsafe { (self.error_string)(status, &mut text) };
        if text.is_null() {
            return format!("status {status}");
        }
        // SAFETY: a static string that ends with a zero.
        let text = unsafe { CStr::from_ptr(text) };
        format!("{} ({status})", text.to_string_lossy())
    }
}
