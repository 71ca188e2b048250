//! The three binary interfaces of MPI libraries, and where libraries are looked for.

use std::fmt;
use std::path::{Path, PathBuf};

use clipn_base::launcher::Launcher;

/// Binary interface of an MPI library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MpiAbi {
    /// The standard interface of MPI 5.0, `libmpi_abi.so`.
    Standard,
    /// MPICH's own, which Intel MPI, MVAPICH and Cray MPICH share.
    Mpich,
    /// Open MPI's own.
    OpenMpi,
}

impl fmt::Display for MpiAbi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard => "standard ABI",
            Self::Mpich => "MPICH's ABI",
            Self::OpenMpi => "Open MPI's ABI",
        })
    }
}

/// A handle, such as that of a communicator or a data type, at a pointer's width: an integer in the
/// low half for MPICH, an address for Open MPI. It is only handed to the library.
pub(super) type Handle = usize;

/// Handles and constants of an interface.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handles {
    pub(super) world: Handle,
    pub(super) float: Handle,
    pub(super) double: Handle,
    pub(super) byte: Handle,
    pub(super) sum: Handle,
    pub(super) errors_return: Handle,
    /// Address that stands for "in place".
    pub(super) in_place: usize,
    /// Thread level at which any thread may call MPI, one at a time.
    pub(super) serialized: i32,
}

impl MpiAbi {
    /// Detects the interface from the names of the library's file and the symbols that it has.
    pub(super) fn detect(names: &[String], has: impl Fn(&str) -> bool) -> Option<Self> {
        if names.iter().any(|name| name.contains("mpi_abi")) {
            Some(Self::Standard)
        } else if has("ompi_mpi_comm_world") {
            Some(Self::OpenMpi)
        } else if has("MPIR_Err_create_code") {
            Some(Self::Mpich)
        } else {
            None
        }
    }

    /// Returns the handles; `address` looks up the address of a symbol, which only Open MPI's
    /// interface needs.
    pub(super) fn handles<E>(
        self,
        address: impl Fn(&'static str) -> Result<usize, E>,
    ) -> Result<Handles, E> {
        Ok(match self {
            Self::Standard => Handles {
                world: 0x101,
                float: 0x210,
                double: 0x214,
                byte: 0x247,
                sum: 0x21,
                errors_return: 0x143,
                in_place: 1,
                serialized: 2048,
            },
            Self::Mpich => Handles {
                world: 0x4400_0000,
                float: 0x4c00_040a,
                double: 0x4c00_080b,
                byte: 0x4c00_010d,
                sum: 0x5800_0003,
                errors_return: 0x5400_0001,
                in_place: usize::MAX,
                serialized: 2,
            },
            Self::OpenMpi => Handles {
                world: address("ompi_mpi_comm_world")?,
                float: address("ompi_mpi_float")?,
                double: address("ompi_mpi_double")?,
                byte: address("ompi_mpi_byte")?,
                sum: address("ompi_mpi_op_sum")?,
                errors_return: address("ompi_mpi_errors_return")?,
                in_place: 1,
                serialized: 2,
            },
        })
    }
}

/// Libraries in the order in which they are tried: those beside the launcher, since the library of
/// another MPI cannot connect its processes, then those that the system's loader finds, then those
/// beside the launcher that is found by name.
pub(super) fn candidates(launcher: Option<Launcher>) -> Vec<PathBuf> {
    let names = library_names(launcher);
    let beside = |directory: PathBuf| -> Vec<PathBuf> {
        let paths = names.iter().map(|name| directory.join(name));
        paths.filter(|path| path.exists()).collect()
    };
    let mut paths = launcher
        .and_then(|_| libraries_beside(&parent_program()?))
        .map_or_else(Vec::new, beside);
    paths.extend(names.iter().cloned());
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let by_name = std::env::split_paths(&in_path)
        .map(|directory| directory.join("mpiexec"))
        .find(|path| path.is_file());
    paths.extend(
        by_name
            .and_then(|path| libraries_beside(&path))
            .map_or_else(Vec::new, beside),
    );
    paths
}

/// The program that started this process, as Linux reports it.
fn parent_program() -> Option<PathBuf> {
    #[cfg(unix)]
    return std::fs::read_link(format!("/proc/{}/exe", std::os::unix::process::parent_id())).ok();
    #[cfg(not(unix))]
    None
}

/// The directory `lib` of an installation with this program in `bin`.
fn libraries_beside(program: &Path) -> Option<PathBuf> {
    let bin = program.parent().filter(|bin| bin.ends_with("bin"))?;
    Some(bin.parent()?.join("lib"))
}

/// Names of MPI libraries, those that fit the launcher first.
fn library_names(launcher: Option<Launcher>) -> Vec<PathBuf> {
    const STANDARD: [&str; 3] = ["libmpi_abi.so.1", "libmpi_abi.so.0", "libmpi_abi.so"];
    const OPEN_MPI: [&str; 1] = ["libmpi.so.40"];
    const MPICH: [&str; 2] = ["libmpi.so.12", "libmpich.so.12"];
    const UNVERSIONED: [&str; 1] = ["libmpi.so"];
    let order: [&[&str]; 4] = match launcher {
        Some(Launcher::OpenMpi) => [&OPEN_MPI, &STANDARD, &UNVERSIONED, &MPICH],
        _ => [&STANDARD, &OPEN_MPI, &MPICH, &UNVERSIONED],
    };
    let order = match launcher {
        Some(Launcher::Pmi) => [&STANDARD[..], &MPICH, &UNVERSIONED, &OPEN_MPI],
        _ => order,
    };
    order.concat().iter().map(PathBuf::from).collect()
}

/// Names of a library's file: as given, and of the file that links lead to.
pub(super) fn file_names(path: &Path) -> Vec<String> {
    let resolved = std::fs::canonicalize(path).ok();
    [Some(path), resolved.as_deref()]
        .into_iter()
        .flatten()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_is_known_by_name_and_symbols() {
        let detect = |name: &str, symbols: &[&str]| {
            MpiAbi::detect(&[name.to_owned()], |symbol| symbols.contains(&symbol))
        };
        // MPICH's library of the standard interface has its own symbols too.
        let mpich = &["MPIR_Err_create_code"];
        assert_eq!(detect("libmpi_abi.so.1", mpich), Some(MpiAbi::Standard));
        assert_eq!(detect("libmpi.so.12", mpich), Some(MpiAbi::Mpich));
        let open_mpi = &["ompi_mpi_comm_world"];
        assert_eq!(detect("libmpi.so", open_mpi), Some(MpiAbi::OpenMpi));
        assert_eq!(detect("libm.so.6", &[]), None);
    }

    #[test]
    fn libraries_are_beside_programs() {
        let beside = |path: &str| libraries_beside(Path::new(path));
        assert_eq!(beside("/opt/mpi/bin/mpiexec"), Some("/opt/mpi/lib".into()));
        assert_eq!(beside("/usr/sbin/slurmstepd"), None);
        assert_eq!(beside("mpiexec"), None);
    }

    #[test]
    fn the_library_of_the_launcher_is_tried_first() {
        let first = |launcher| library_names(launcher)[0].display().to_string();
        assert_eq!(first(None), "libmpi_abi.so.1");
        assert_eq!(first(Some(Launcher::Pmi)), "libmpi_abi.so.1");
        assert_eq!(first(Some(Launcher::OpenMpi)), "libmpi.so.40");
        let pmi = library_names(Some(Launcher::Pmi));
        assert_eq!(pmi.last(), Some(&PathBuf::from("libmpi.so.40")));
        for launcher in [None, Some(Launcher::OpenMpi), Some(Launcher::Pmi)] {
            assert_eq!(library_names(launcher).len(), 7);
        }
    }
}
