//! Compilation of the kernels at run time.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::Path;
use std::ptr;

use clipn_model::Precision;

use crate::cuda::api::{Handle, Nvrtc};
use crate::cuda::libraries::{self, NvidiaLibrary};
use crate::error::DeviceError;

const SOURCE: &str = include_str!("kernels/kernels.cu");

/// What the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// Compute capability, such as 90.
    pub(super) capability: u32,
    pub(super) precision: Precision,
    /// Width of an attention head; 0 for the kernels without attention.
    pub(super) head_width: usize,
    /// Whether to make machine code of this GPU instead of PTX.
    pub(super) machine_code: bool,
}

/// Compiles the kernels to PTX without a GPU, as a check.
///
/// # Errors
/// [`DeviceError::MissingLibraries`] without NVRTC, [`DeviceError::Backend`] with the compiler's messages,
/// [`DeviceError::UnsupportedPrecision`] for int8.
pub fn compile_ptx(
    libraries: Option<&Path>,
    capability: u32,
    precision: Precision,
    head_width: usize,
) -> Result<String, DeviceError> {
    let [library] = libraries::open_all([NvidiaLibrary::Nvrtc], libraries)?;
    let nvrtc = Nvrtc::load(library)?;
    let target = Target {
        capability,
        precision,
        head_width,
        machine_code: false,
    };
    let code = compile(&nvrtc, target)?;
    Ok(String::from_utf8_lossy(&code).into_owned())
}

/// Compiles the kernels.
///
/// # Errors
/// [`DeviceError::Backend`] with the compiler's messages, [`DeviceError::UnsupportedPrecision`] for int8.
pub(super) fn compile(nvrtc: &Nvrtc, target: Target) -> Result<Vec<u8>, DeviceError> {
    let Target {
        capability,
        precision,
        head_width,
        machine_code,
    } = target;
    let kind = if machine_code { "sm" } else { "compute" };
    let precision = match precision {
        Precision::F32 => 0,
        Precision::F16 => 1,
        Precision::Bf16 => 2,
        other => {
            return Err(DeviceError::UnsupportedPrecision {
                device: "cuda".to_owned(),
                precision: other.as_str(),
            });
        }
    };
    let mut options = vec![
        format!("--gpu-architecture={kind}_{capability}"),
        format!("-DPRECISION={precision}"),
        "--std=c++17".to_owned(),
    ];
    if head_width > 0 {
        options.push(format!("-DHEAD={head_width}"));
    }
    let failed = |call, message| DeviceError::Backend {
        device: "CUDA".to_owned(),
        call,
        message,
    };
    let (Ok(source), Ok(options)) = (
        CString::new(SOURCE),
        options
            .into_iter()
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>(),
    ) else {
        return Err(failed(
            "compiling kernels",
            "a zero in the source".to_owned(),
        ));
    };
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let mut program: Handle = ptr::null_mut();
    // SAFETY: the source ends with a zero; no headers are given.
    let status = unsafe {
        (nvrtc.create)(
            &mut program,
            source.as_ptr(),
            c"clipn.cu".as_ptr(),
            0,
            ptr::null(),
            ptr::null(),
        )
    };
    if status != 0 {
        return Err(failed("creating a program", format!("status {status}")));
    }
    // SAFETY: the program was created, and there are as many options as are counted.
    let status = unsafe { (nvrtc.compile)(program, pointers.len() as c_int, pointers.as_ptr()) };
    let result = if status == 0 {
        let (size, get) = match machine_code {
            true => (nvrtc.cubin_size, nvrtc.cubin),
            false => (nvrtc.ptx_size, nvrtc.ptx),
        };
        read(program, size, get).ok_or_else(|| failed("compiling kernels", "no code".to_owned()))
    } else {
        let log = read(program, nvrtc.log_size, nvrtc.log).unwrap_or_default();
        let log = CStr::from_bytes_until_nul(&log).map(CStr::to_string_lossy);
        let log = log.unwrap_or_default();
        Err(failed(
            "compiling kernels",
            format!("status {status}: {log}"),
        ))
    };
    // SAFETY: the program is not used after this.
    unsafe { (nvrtc.destroy)(&mut program) };
    result
}

/// Reads an output of a program: its size, then its bytes.
fn read(
    program: Handle,
    size: unsafe extern "C" fn(Handle, *mut usize) -> c_int,
    get: unsafe extern "C" fn(Handle, *mut c_char) -> c_int,
) -> Option<Vec<u8>> {
    let mut bytes = 0;
    // SAFETY: the program exists.
    if unsafe { size(program, &mut bytes) } != 0 {
        return None;
    }
    let mut output = vec![0; bytes];
    // SAFETY: the output has the size that the library returned.
    let status = unsafe { get(program, output.as_mut_ptr().cast()) };
    (status == 0).then_some(output)
}
