//! Loading of an MPI library and safe forms of the functions that are used.

use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use bytemuck::Pod;

use super::abi::{Handle, Handles, MpiAbi, file_names};
use crate::communicator::CommunicatorError;

type Call = unsafe extern "C" fn() -> c_int;
type Flag = unsafe extern "C" fn(*mut c_int) -> c_int;
type InitThread = unsafe extern "C" fn(*mut c_int, *mut c_void, c_int, *mut c_int) -> c_int;
type OnComm = unsafe extern "C" fn(Handle) -> c_int;
type Abort = unsafe extern "C" fn(Handle, c_int) -> c_int;
type Number = unsafe extern "C" fn(Handle, *mut c_int) -> c_int;
type SetErrhandler = unsafe extern "C" fn(Handle, Handle) -> c_int;
type Version = unsafe extern "C" fn(*mut c_char, *mut c_int) -> c_int;
type ErrorString = unsafe extern "C" fn(c_int, *mut c_char, *mut c_int) -> c_int;
type Allgather =
    unsafe extern "C" fn(*const c_void, c_int, Handle, *mut c_void, c_int, Handle, Handle) -> c_int;
type Allgatherv = unsafe extern "C" fn(
    *const c_void,
    c_int,
    Handle,
    *mut c_void,
    *const c_int,
    *const c_int,
    Handle,
    Handle,
) -> c_int;
type Alltoallv = unsafe extern "C" fn(
    *const c_void,
    *const c_int,
    *const c_int,
    Handle,
    *mut c_void,
    *const c_int,
    *const c_int,
    Handle,
    Handle,
) -> c_int;
type Allreduce =
    unsafe extern "C" fn(*const c_void, *mut c_void, c_int, Handle, Handle, Handle) -> c_int;
type Bcast = unsafe extern "C" fn(*mut c_void, c_int, Handle, c_int, Handle) -> c_int;

/// Size of the buffers for version and error texts. The standard allows 8192 bytes.
const TEXT_BYTES: usize = 8192;

/// A loaded MPI library with the functions that are used, all found when it was opened.
///
/// The library is never unloaded: it starts threads and registers handlers of its own.
pub(super) struct MpiLibrary {
    _library: ManuallyDrop<libloading::Library>,
    path: PathBuf,
    abi: MpiAbi,
    handles: Handles,
    initialized: Flag,
    finalized: Flag,
    init_thread: InitThread,
    finalize: Call,
    abort: Abort,
    set_errhandler: SetErrhandler,
    comm_rank: Number,
    comm_size: Number,
    library_version: Version,
    error_string: ErrorString,
    allgather: Allgather,
    allgatherv: Allgatherv,
    alltoallv: Alltoallv,
    allreduce: Allreduce,
    bcast: Bcast,
    barrier: OnComm,
}

impl fmt::Debug for MpiLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MpiLibrary")
            .field("path", &self.path)
            .field("abi", &self.abi)
            .finish_non_exhaustive()
    }
}

/// Loads a library such that those that it loads itself find its symbols, as Open MPI's plugins
/// need.
#[cfg(unix)]
fn load(path: &Path) -> Result<libloading::Library, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: running the initializers of a library is what loading one means; the user or the
    // system's library path names an MPI.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.map(Into::into)
}

#[cfg(not(unix))]
fn load(path: &Path) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: same as on Unix.
    unsafe { libloading::Library::new(path) }
}

impl MpiLibrary {
    /// Opens a library by path or name.
    ///
    /// # Errors
    /// The reason why it cannot be used, in words.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let library = load(path).map_err(|error| {
            // The loader repeats the name in front of the reason.
            let name = format!("{}: ", path.display());
            let text = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            text.strip_prefix(&name).map_or(text.clone(), str::to_owned)
        })?;
        let library = ManuallyDrop::new(library);
        let address = |name: &str| -> Option<*mut c_void> {
            // SAFETY: the address of the symbol is taken; nothing is read through it here, and the
            // library stays loaded.
            let symbol = unsafe { library.get::<*mut c_void>(name) }.ok()?;
            // SAFETY: same as above.
            Some(unsafe { symbol.into_raw() }.as_raw_ptr())
        };
        let names = file_names(path);
        let abi = MpiAbi::detect(&names, |name| address(name).is_some())
            .ok_or("expected an MPI library, got one without the symbols of a known MPI")?;
        let missing = |name: &'static str| address(name).ok_or(format!("it has no {name}"));
        let handles = abi.handles(|name| missing(name).map(|address| address as usize))?;
        macro_rules! function {
            ($name:literal as $type:ty) => {{
                let address = missing($name)?;
                // SAFETY: `address` is that of the function `$name` of an MPI library, which has
                // this type in C: handles are as wide as a pointer, or narrower integers that are
                // passed in the low half of a register.
                unsafe { std::mem::transmute::<*mut c_void, $type>(address) }
            }};
        }
        Ok(Self {
            path: path.to_owned(),
            abi,
            handles,
            initialized: function!("MPI_Initialized" as Flag),
            finalized: function!("MPI_Finalized" as Flag),
            init_thread: function!("MPI_Init_thread" as InitThread),
            finalize: function!("MPI_Finalize" as Call),
            abort: function!("MPI_Abort" as Abort),
            set_errhandler: function!("MPI_Comm_set_errhandler" as SetErrhandler),
            comm_rank: function!("MPI_Comm_rank" as Number),
            comm_size: function!("MPI_Comm_size" as Number),
            library_version: function!("MPI_Get_library_version" as Version),
            error_string: function!("MPI_Error_string" as ErrorString),
            allgather: function!("MPI_Allgather" as Allgather),
            allgatherv: function!("MPI_Allgatherv" as Allgatherv),
            alltoallv: function!("MPI_Alltoallv" as Alltoallv),
            allreduce: function!("MPI_Allreduce" as Allreduce),
            bcast: function!("MPI_Bcast" as Bcast),
            barrier: function!("MPI_Barrier" as OnComm),
            _library: library,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn abi(&self) -> MpiAbi {
        self.abi
    }

    pub(super) fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Starts MPI at the level at which any thread may call it, one at a time.
    pub(super) fn initialize(&self) -> Result<(), CommunicatorError> {
        for (flag, function, state) in [
            (self.finalized, "MPI_Finalized", "finalized"),
            (self.initialized, "MPI_Initialized", "initialized"),
        ] {
            let mut value = 0;
            // SAFETY: both functions may be called at any time and write one int.
            let code = unsafe { flag(&raw mut value) };
            self.check(function, code)?;
            if value != 0 {
                return Err(CommunicatorError::MpiState { state });
            }
        }
        let (required, mut provided) = (self.handles.serialized, 0);
        // SAFETY: MPI is neither initialized nor finalized; null for the arguments of the program is
        // allowed since MPI-2, and `provided` is one int.
        let code = unsafe {
            (self.init_thread)(
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                required,
                &raw mut provided,
            )
        };
        self.check("MPI_Init_thread", code)?;
        // SAFETY: MPI is initialized, and both handles are constants of its interface.
        let code = unsafe { (self.set_errhandler)(self.handles.world, self.handles.errors_return) };
        self.check("MPI_Comm_set_errhandler", code)?;
        if provided < required {
            return Err(CommunicatorError::ThreadSupport { provided, required });
        }
        Ok(())
    }

    /// Rank of this process and number of processes.
    pub(super) fn rank_and_size(&self) -> Result<(usize, usize), CommunicatorError> {
        let number = |function: Number, name| {
            let mut value = 0;
            // SAFETY: MPI is initialized; the function writes one int.
            let code = unsafe { function(self.handles.world, &raw mut value) };
            self.check(name, code)?;
            Ok(usize::try_from(value).unwrap_or_default())
        };
        Ok((
            number(self.comm_rank, "MPI_Comm_rank")?,
            number(self.comm_size, "MPI_Comm_size")?,
        ))
    }

    /// Name and version of the library, its first line.
    pub(super) fn version(&self) -> String {
        let mut text = [0; TEXT_BYTES];
        let mut length = 0;
        // SAFETY: the buffer is as long as the standard requires.
        let code = unsafe { (self.library_version)(text.as_mut_ptr().cast(), &raw mut length) };
        match code {
            0 => first_line(&text),
            _ => String::new(),
        }
    }

    /// Shuts MPI down.
    pub(super) fn finalize(&self) -> Result<(), CommunicatorError> {
        // SAFETY: MPI is initialized and was not finalized: the caller finalizes once.
        let code = unsafe { (self.finalize)() };
        self.check("MPI_Finalize", code)
    }

    /// Ends all processes with `code`.
    pub(super) fn abort(&self, code: i32) {
        // SAFETY: MPI is initialized. Other threads may be inside a call, which the standard allows
        // only at a higher level; the process ends here in any case.
        unsafe { (self.abort)(self.handles.world, code) };
    }

    pub(super) fn barrier(&self) -> Result<(), CommunicatorError> {
        // SAFETY: MPI is initialized.
        let code = unsafe { (self.barrier)(self.handles.world) };
        self.check("MPI_Barrier", code)
    }

    /// Gathers equally many bytes of every rank; `received` has room for those of all.
    pub(super) fn allgather(
        &self,
        own: &[u8],
        received: &mut [u8],
    ) -> Result<(), CommunicatorError> {
        let count = to_int(own.len())?;
        let (_, size) = self.rank_and_size()?;
        assert_eq!(received.len(), own.len() * size);
        let byte = self.handles.byte;
        // SAFETY: `own` has `count` bytes and `received` has that for each rank.
        let code = unsafe {
            (self.allgather)(
                address_of(own),
                count,
                byte,
                address_of_mut(received),
                count,
                byte,
                self.handles.world,
            )
        };
        self.check("MPI_Allgather", code)
    }

    /// Gathers the values of every rank, those of rank `q` into `parts[q]`.
    pub(super) fn allgatherv<T: Pod>(
        &self,
        own: &[T],
        received: &mut [T],
        parts: &[Range<usize>],
        datatype: Handle,
    ) -> Result<(), CommunicatorError> {
        let layout = Layout::new(parts)?;
        assert!(layout.end <= received.len());
        let own_count = to_int(own.len())?;
        // SAFETY: `own` has `own_count` values of the type, and `received` has room for the layout,
        // which the caller makes the same on every rank. The arrays have an entry per rank.
        let code = unsafe {
            (self.allgatherv)(
                address_of(own),
                own_count,
                datatype,
                address_of_mut(received),
                layout.counts.as_ptr(),
                layout.starts.as_ptr(),
                datatype,
                self.handles.world,
            )
        };
        self.check("MPI_Allgatherv", code)
    }

    /// Same as [`allgatherv`](Self::allgatherv), where this rank's values are in their part already.
    pub(super) fn allgatherv_in_place<T: Pod>(
        &self,
        values: &mut [T],
        parts: &[Range<usize>],
        datatype: Handle,
    ) -> Result<(), CommunicatorError> {
        let layout = Layout::new(parts)?;
        assert!(layout.end <= values.len());
        // SAFETY: `values` has room for the layout, which the caller makes the same on every rank; the
        // constant for "in place" is one of the interface and is not read as an address.
        let code = unsafe {
            (self.allgatherv)(
                self.handles.in_place as *const c_void,
                0,
                datatype,
                address_of_mut(values),
                layout.counts.as_ptr(),
                layout.starts.as_ptr(),
                datatype,
                self.handles.world,
            )
        };
        self.check("MPI_Allgatherv", code)
    }

    /// Sends the values of `own` in `sent[q]` to rank `q`, and receives from it into `parts[q]`.
    pub(super) fn alltoallv<T: Pod>(
        &self,
        own: &[T],
        sent: &[Range<usize>],
        received: &mut [T],
        parts: &[Range<usize>],
        datatype: Handle,
    ) -> Result<(), CommunicatorError> {
        let (send, receive) = (Layout::new(sent)?, Layout::new(parts)?);
        assert!(send.end <= own.len() && receive.end <= received.len());
        // SAFETY: both buffers have room for their layouts, with an entry per rank.
        let code = unsafe {
            (self.alltoallv)(
                address_of(own),
                send.counts.as_ptr(),
                send.starts.as_ptr(),
                datatype,
                address_of_mut(received),
                receive.counts.as_ptr(),
                receive.starts.as_ptr(),
                datatype,
                self.handles.world,
            )
        };
        self.check("MPI_Alltoallv", code)
    }

    /// Sums in place, in an order that the library chooses.
    pub(super) fn allreduce<T: Pod>(
        &self,
        values: &mut [T],
        datatype: Handle,
    ) -> Result<(), CommunicatorError> {
        let count = to_int(values.len())?;
        // SAFETY: `values` has `count` values of the type; the constant for "in place" is one of the
        // interface and is not read as an address.
        let code = unsafe {
            (self.allreduce)(
                self.handles.in_place as *const c_void,
                address_of_mut(values),
                count,
                datatype,
                self.handles.sum,
                self.handles.world,
            )
        };
        self.check("MPI_Allreduce", code)
    }

    /// Replaces the values by those of `root`.
    pub(super) fn bcast<T: Pod>(
        &self,
        values: &mut [T],
        root: usize,
        datatype: Handle,
    ) -> Result<(), CommunicatorError> {
        let (count, root) = (to_int(values.len())?, to_int(root)?);
        // SAFETY: `values` has `count` values of the type, as on every rank.
        let code = unsafe {
            (self.bcast)(
                address_of_mut(values),
                count,
                datatype,
                root,
                self.handles.world,
            )
        };
        self.check("MPI_Bcast", code)
    }

    /// Returns MPI's message for a code other than success.
    fn check(&self, function: &'static str, code: c_int) -> Result<(), CommunicatorError> {
        if code == 0 {
            return Ok(());
        }
        let mut text = [0; TEXT_BYTES];
        let mut length = 0;
        // SAFETY: the buffer is as long as the standard requires.
        let known = unsafe { (self.error_string)(code, text.as_mut_ptr().cast(), &raw mut length) };
        let problem = match known {
            0 => first_line(&text),
            _ => format!("error {code}"),
        };
        Err(CommunicatorError::Mpi { function, problem })
    }
}

/// What empty slices point to for MPI. Rust gives an empty slice of bytes the address 1, which is the
/// constant `MPI_IN_PLACE` of two of the three interfaces.
static NOTHING: AtomicU64 = AtomicU64::new(0);

fn address_of<T>(values: &[T]) -> *const c_void {
    match values {
        [] => NOTHING.as_ptr().cast_const().cast(),
        values => values.as_ptr().cast(),
    }
}

fn address_of_mut<T>(values: &mut [T]) -> *mut c_void {
    match values {
        [] => NOTHING.as_ptr().cast(),
        values => values.as_mut_ptr().cast(),
    }
}

/// Counts and displacements of the parts of a buffer, as MPI takes them.
struct Layout {
    counts: Vec<c_int>,
    starts: Vec<c_int>,
    /// End of the last part.
    end: usize,
}

impl Layout {
    fn new(parts: &[Range<usize>]) -> Result<Self, CommunicatorError> {
        Ok(Self {
            counts: parts
                .iter()
                .map(|part| to_int(part.len()))
                .collect::<Result<_, _>>()?,
            starts: parts
                .iter()
                .map(|part| to_int(part.start))
                .collect::<Result<_, _>>()?,
            end: parts.iter().map(|part| part.end).max().unwrap_or_default(),
        })
    }
}

/// A count as a C int. Callers split what is longer.
fn to_int(count: usize) -> Result<c_int, CommunicatorError> {
    c_int::try_from(count).map_err(|_| CommunicatorError::Mpi {
        function: "a call with a C int",
        problem: format!("{count} values exceed {}", c_int::MAX),
    })
}

fn first_line(text: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(text).unwrap_or_default();
    let text = text.to_string_lossy();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
