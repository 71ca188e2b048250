//! Search of NVIDIA's libraries, which are opened at run time: in a given directory, where the system
//! looks, in CUDA's directory, and in the wheels of a Python environment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::error::DeviceError;

/// A library of NVIDIA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NvidiaLibrary {
    /// The driver.
    Driver,
    /// The compiler of kernels.
    Nvrtc,
    /// Matrix products.
    CublasLt,
}

impl NvidiaLibrary {
    pub(super) const ALL: [Self; 3] = [Self::Driver, Self::Nvrtc, Self::CublasLt];

    /// Names of files, newest first.
    fn names(self) -> &'static [&'static str] {
        match (self, cfg!(windows)) {
            (Self::Driver, false) => &["libcuda.so.1", "libcuda.so"],
            (Self::Nvrtc, false) => &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"],
            (Self::CublasLt, false) => {
                &["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"]
            }
            (Self::Driver, true) => &["nvcuda.dll"],
            (Self::Nvrtc, true) => &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"],
            (Self::CublasLt, true) => &["cublasLt64_13.dll", "cublasLt64_12.dll"],
        }
    }

    /// Package that installs the library.
    fn package(self) -> &'static str {
        match self {
            Self::Driver => "NVIDIA's driver",
            Self::Nvrtc => "the CUDA toolkit or the Python package nvidia-cuda-nvrtc",
            Self::CublasLt => "the CUDA toolkit or the Python package nvidia-cublas",
        }
    }
}

/// Opens a library.
///
/// # Errors
/// What was tried, and the package that has it.
pub(super) fn open(library: NvidiaLibrary, directory: Option<&Path>) -> Result<Library, String> {
    let mut first_error = None;
    for candidate in candidates(library, directory) {
        // SAFETY: opening a library of NVIDIA runs only its initializers, which have no requirements.
        match unsafe { Library::new(&candidate) } {
            Ok(opened) => return Ok(opened),
            // A file that is there but cannot be opened says more than one that is not.
            Err(error) if candidate.is_file() => {
                first_error.get_or_insert_with(|| format!("{}: {error}", candidate.display()));
            }
            Err(_) => {}
        }
    }
    let names = library.names();
    let what = first_error.unwrap_or_else(|| format!("{} not found", names[0]));
    Err(format!("{what} (part of {})", library.package()))
}

/// Opens several libraries, and names all that are missing.
///
/// # Errors
/// [`DeviceError::MissingLibraries`].
pub(super) fn open_all<const N: usize>(
    libraries: [NvidiaLibrary; N],
    directory: Option<&Path>,
) -> Result<[Library; N], DeviceError> {
    let mut opened = Vec::with_capacity(N);
    let mut missing = Vec::new();
    for library in libraries {
        match open(library, directory) {
            Ok(library) => opened.push(library),
            Err(error) => missing.push(error),
        }
    }
    opened
        .try_into()
        .map_err(|_| DeviceError::MissingLibraries {
            device: "CUDA",
            missing,
        })
}

/// Returns the files to try, in order. Bare names are searched where the system looks.
fn candidates(library: NvidiaLibrary, directory: Option<&Path>) -> Vec<PathBuf> {
    let names = library.names();
    let within = |directory: &Path| names.iter().map(|name| directory.join(name)).collect();
    let mut found: Vec<PathBuf> = directory.map(within).unwrap_or_default();
    found.extend(names.iter().map(PathBuf::from));
    if library != NvidiaLibrary::Driver {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        for directory in toolkit_directories(variable) {
            found.extend(names.iter().map(|name| directory.join(name)));
        }
    }
    found
}

/// Directories of CUDA toolkits and of wheels, given the environment's variables.
fn toolkit_directories(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(&variable);
    for toolkit in toolkits.chain([PathBuf::from("/usr/local/cuda")]) {
        directories.extend(["lib64", "lib", "bin"].map(|part| toolkit.join(part)));
    }
    for environment in ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .into_iter()
        .filter_map(&variable)
    {
        directories.extend(wheel_directories(&environment));
    }
    directories
}

/// Directories of the libraries in the wheels of a Python environment:
/// `lib/python3.*/site-packages/nvidia/*/lib`.
fn wheel_directories(environment: &Path) -> Vec<PathBuf> {
    let entries = |path: PathBuf| -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(path) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let is_python = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("python3"))
    };
    let pythons = entries(environment.join("lib"))
        .into_iter()
        .filter(is_python);
    let windows = environment.join("Lib");
    let sites = pythons
        .chain([windows])
        .map(|path| path.join("site-packages"));
    sites
        .flat_map(|site| entries(site.join("nvidia")))
        .flat_map(|package| [package.join("lib"), package.join("bin")])
        .filter(|directory| directory.is_dir())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_searched_in_the_wheels_of_an_environment() {
        let root = std::env::temp_dir().join(format!("clipn-wheels-{}", std::process::id()));
        let libraries = root.join("lib/python3.11/site-packages/nvidia/cu13/lib");
        std::fs::create_dir_all(&libraries).unwrap();
        let variable = |name: &str| (name == "VIRTUAL_ENV").then(|| root.clone());
        let found = toolkit_directories(variable);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(found.last(), Some(&libraries));
    }

    #[test]
    fn a_given_directory_comes_first() {
        let found = candidates(NvidiaLibrary::Nvrtc, Some(Path::new("/opt/cuda")));
        assert!(found[0].starts_with("/opt/cuda"), "{found:?}");
        let driver = candidates(NvidiaLibrary::Driver, None);
        assert_eq!(driver.len(), NvidiaLibrary::Driver.names().len());
    }

    #[test]
    fn every_missing_library_is_named_with_its_package() {
        // Not a directory of libraries.
        let missing = |library: NvidiaLibrary| open(library, Some(Path::new("/nonexistent")));
        for library in NvidiaLibrary::ALL {
            if let Err(message) = missing(library) {
                assert!(message.contains(library.names()[0]), "{message}");
                assert!(message.contains(library.package()), "{message}");
            }
        }
    }
}
