//! MPI installations that tests run under: the directories in `CLIPN_TEST_MPI`, separated by colons, each
//! with `bin/mpiexec` and `lib`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A launcher with a library to load.
#[derive(Clone)]
pub struct MpiInstallation {
    prefix: PathBuf,
    library: PathBuf,
    is_open_mpi: bool,
}

/// Every library of the installations in `CLIPN_TEST_MPI`. If there is none, prints the reason.
pub fn installations() -> Vec<MpiInstallation> {
    let Some(prefixes) = std::env::var_os("CLIPN_TEST_MPI") else {
        eprintln!(
            "skipped: no MPI; set CLIPN_TEST_MPI to directories with bin/mpiexec and lib, separated by \
             colons, or run .ci/mpi, which installs two"
        );
        return Vec::new();
    };
    let mut found = Vec::new();
    for prefix in std::env::split_paths(&prefixes) {
        let before = found.len();
        for name in ["libmpi.so.40", "libmpi_abi.so.1", "libmpi.so.12"] {
            let library = prefix.join("lib").join(name);
            if library.exists() {
                found.push(MpiInstallation {
                    prefix: prefix.clone(),
                    library,
                    is_open_mpi: name == "libmpi.so.40",
                });
            }
        }
        assert!(found.len() > before, "no MPI in {}", prefix.display());
    }
    found
}

impl MpiInstallation {
    pub fn is_open_mpi(&self) -> bool {
        self.is_open_mpi
    }

    /// This launcher with the library of another installation.
    pub fn with_library_of(&self, other: &Self) -> Self {
        Self {
            library: other.library.clone(),
            ..self.clone()
        }
    }

    /// Same as [`command`](Self::command), with each process bound to one core, as Open MPI does by
    /// itself. `None` for launchers that do not bind by this flag.
    pub fn bound_command(&self, ranks: usize, program: &Path) -> Option<Command> {
        let flags = ["--bind-to", "core"];
        self.is_open_mpi
            .then(|| self.launch(ranks, program, &flags))
    }

    /// A command that starts `ranks` processes of `program`, with this library in `CLIPN_MPI`.
    pub fn command(&self, ranks: usize, program: &Path) -> Command {
        let flags: &[&str] = if self.is_open_mpi {
            &["--oversubscribe", "--bind-to", "none"]
        } else {
            &[]
        };
        self.launch(ranks, program, flags)
    }

    fn launch(&self, ranks: usize, program: &Path, flags: &[&str]) -> Command {
        let mut command = Command::new(self.prefix.join("bin/mpiexec"));
        if self.is_open_mpi {
            command.arg("--allow-run-as-root");
        }
        command.args(flags);
        command.args(["-n", &ranks.to_string()]).arg(program);
        command
            .env("CLIPN_MPI", &self.library)
            // Processes share cores: they must not spin while they wait.
            .env("OMPI_MCA_mpi_yield_when_idle", "1")
            .env("RAYON_NUM_THREADS", "1")
            .stdin(Stdio::null());
        command
    }
}

impl std::fmt::Display for MpiInstallation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.library.display())
    }
}

/// Runs a command, and fails if it takes longer than `limit`: a rank that waits forever must not hang
/// the tests.
pub fn output_within(mut command: Command, limit: Duration) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    rest_within(child, limit)
}

/// Waits for a command that runs, and fails if it takes longer than `limit`.
pub fn rest_within(child: Child, limit: Duration) -> Output {
    let id = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(limit) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            let _ = Command::new("kill").arg(id.to_string()).status();
            panic!("process {id} still ran after {limit:?}");
        }
    }
}
