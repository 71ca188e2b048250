//! MPI against threads: the same program under `mpiexec` and with [`InProcess`] has the same bits.
//!
//! The test `worker` is what `mpiexec` starts; it does nothing elsewhere.

use std::io::Write;
use std::thread;
use std::time::Duration;

use clipn_testing::mpi::{MpiInstallation, installations, output_within};
use clipn_testing::random::Random;
use clipn_train::{Communicator, CommunicatorError, InProcess, Mpi, MpiSettings, share};

const LIMIT: Duration = Duration::from_secs(120);

/// Selects what `worker` does.
const TASK: &str = "CLIPN_TEST_MPI_TASK";

/// Lengths that the number of ranks divides or not, below it, and zero; more than the four calls
/// after which MPICH sums in another order.
const LENGTHS: [usize; 12] = [4, 0, 1, 2, 3, 7, 10, 1000, 1003, 5000, 20_000, 33];

fn digest(bytes: &[u8], digest: &mut u64) {
    for &byte in bytes {
        *digest = (*digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
}

/// Calls every operation with several lengths, checks what can be checked locally, and returns a
/// digest of all results.
fn exercise<C: Communicator>(ranks: &C) -> u64 {
    let (rank, world) = (ranks.rank(), ranks.world_size());
    let values = |rank: usize, length: usize| -> (Vec<f32>, Vec<f64>) {
        let mut random = Random::new((rank * 1000 + length) as u64);
        (random.values(length, 1.0), random.values(length, 1.0))
    };
    let mut seen = 0xcbf2_9ce4_8422_2325;
    for length in LENGTHS {
        let (mut singles, mut doubles) = values(rank, length);
        ranks.all_reduce_sum(&mut singles).unwrap();
        ranks.all_reduce_sum(&mut doubles).unwrap();
        let mut expected = values(0, length);
        for other in 1..world {
            let (more_singles, more_doubles) = values(other, length);
            (expected.0.iter_mut().zip(more_singles)).for_each(|(sum, term)| *sum += term);
            (expected.1.iter_mut().zip(more_doubles)).for_each(|(sum, term)| *sum += term);
        }
        assert_eq!((&singles, &doubles), (&expected.0, &expected.1), "{length}");

        let own = share(length, rank, world);
        let mut shares = values(rank, length);
        ranks.reduce_scatter_sum(&mut shares.0).unwrap();
        ranks.reduce_scatter_sum(&mut shares.1).unwrap();
        assert_eq!(shares.0[own.clone()], singles[own.clone()], "{length}");
        assert_eq!(shares.1[own.clone()], doubles[own], "{length}");
        ranks.all_gather_shares(&mut shares.0).unwrap();
        ranks.all_gather_shares(&mut shares.1).unwrap();
        assert_eq!(shares, (singles.clone(), doubles), "{length}");

        // Every rank has another length, and rank 1 none.
        let own = if rank == 1 { 0 } else { length + rank };
        let gathered = ranks.all_gather(&values(rank, own).0).unwrap();
        let lengths: Vec<usize> = (0..world)
            .map(|rank| if rank == 1 { 0 } else { length + rank })
            .collect();
        assert_eq!(gathered.lengths(), lengths);
        let expected: Vec<f32> = (0..world)
            .flat_map(|rank| values(rank, lengths[rank]).0)
            .collect();
        assert_eq!(gathered.values(), expected);

        let root = length % world;
        let mut doubles = values(rank, length).1;
        ranks.broadcast(root, &mut doubles).unwrap();
        assert_eq!(doubles, values(root, length).1);

        let bytes = ranks
            .all_gather_bytes(format!("{length} of rank {rank}").as_bytes())
            .unwrap();
        for (other, bytes) in bytes.iter().enumerate() {
            assert_eq!(bytes, format!("{length} of rank {other}").as_bytes());
        }
        ranks.barrier().unwrap();
        digest(bytemuck::cast_slice(&singles), &mut seen);
        digest(bytemuck::cast_slice(gathered.values()), &mut seen);
        digest(bytemuck::cast_slice(&doubles), &mut seen);
    }
    assert_eq!(ranks.bytes_of_root(&[rank as u8 + 7]).unwrap(), [7]);
    // Nothing from any rank, and from all but one.
    assert_eq!(
        ranks.all_gather_bytes(&[]).unwrap(),
        vec![Vec::<u8>::new(); world]
    );
    let last = if rank + 1 == world { &[5][..] } else { &[] };
    assert_eq!(ranks.all_gather_bytes(last).unwrap()[world - 1], [5]);
    check_errors(ranks);
    seen
}

fn check_errors<C: Communicator>(ranks: &C) {
    let (rank, world) = (ranks.rank(), ranks.world_size());
    let mut values = vec![1.0f32; 2 + rank];
    if world > 1 {
        let error = ranks.all_reduce_sum(&mut values).unwrap_err();
        assert!(
            matches!(&error, CommunicatorError::MismatchedOperations { rank: 1, found, .. }
                if found.contains("all_reduce_sum") && found.contains("of 3 values")),
            "{error}"
        );
        assert_eq!(values, vec![1.0; 2 + rank], "values change on an error");
    }
    let error = ranks.broadcast(world, &mut values).unwrap_err();
    let expected = CommunicatorError::InvalidRoot {
        rank: world,
        last: world - 1,
    };
    assert_eq!(error, expected);
    ranks.all_reduce_sum(&mut [0.0f64; 3]).unwrap();
}

/// The digest of every rank of threads.
fn digest_of_threads(world: usize) -> u64 {
    let digests: Vec<u64> = thread::scope(|scope| {
        let ranks: Vec<_> = InProcess::world(world)
            .into_iter()
            .map(|rank| scope.spawn(move || exercise(&rank)))
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    digests[0]
}

/// Runs a task of `worker` on every rank. Returns whether all succeeded, and what they printed.
fn launch(mpi: &MpiInstallation, ranks: usize, task: &str) -> (bool, String) {
    let program = std::env::current_exe().unwrap();
    let mut command = mpi.command(ranks, &program);
    command
        .args(["--ignored", "--exact", "mpi::worker", "--nocapture"])
        .env(TASK, task);
    let output = output_within(command, LIMIT);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.success(), text)
}

/// Prints a line in one piece, which lines of other ranks do not interrupt.
fn print_line(line: &str) {
    std::io::stderr()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

/// Not a test of its own: what `mpiexec` starts on every rank.
#[test]
#[ignore = "started by mpiexec"]
fn worker() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let settings = MpiSettings::default();
    match task.as_str() {
        "exercise" => {
            let ranks = Mpi::open(&settings).unwrap();
            print_line(&format!("digest {:016x}", exercise(&ranks)));
            ranks.finish().unwrap();
            let error = ranks.barrier().unwrap_err();
            assert_eq!(
                error.to_string(),
                "MPI is already finalized in this process"
            );
            let error = Mpi::open(&settings).unwrap_err();
            assert_eq!(
                error.to_string(),
                "MPI is already finalized in this process"
            );
        }
        "small-calls" => {
            let ranks = Mpi::open(&settings.with_max_values(300)).unwrap();
            print_line(&format!("digest {:016x}", exercise(&ranks)));
            ranks.finish().unwrap();
        }
        "leave" => {
            let ranks = Mpi::open(&settings).unwrap();
            ranks.barrier().unwrap();
            assert!(ranks.rank() != 1, "rank 1 fails alone");
            // Waits for rank 1, which never comes.
            ranks.barrier().unwrap();
            eprintln!("not ended");
        }
        "open" => match Mpi::open(&settings) {
            Ok(ranks) => {
                print_line(&format!("world of {}", ranks.world_size()));
                ranks.finish().unwrap();
            }
            Err(error) => print_line(&format!("refused: {error}")),
        },
        other => panic!("unknown task {other}"),
    }
}

#[test]
fn mpi_has_the_bits_of_threads() {
    for mpi in installations() {
        for ranks in [1, 2, 4] {
            let expected = format!("digest {:016x}", digest_of_threads(ranks));
            for task in ["exercise", "small-calls"] {
                let (success, text) = launch(&mpi, ranks, task);
                assert!(success, "{mpi}, {ranks} ranks, {task}: {text}");
                assert_eq!(text.matches(&expected).count(), ranks, "{mpi}: {text}");
            }
        }
    }
}

#[test]
fn a_rank_that_fails_alone_ends_the_others() {
    for mpi in installations() {
        let (success, text) = launch(&mpi, 4, "leave");
        assert!(
            !success && text.contains("rank 1 fails alone"),
            "{mpi}: {text}"
        );
        assert!(!text.contains("not ended"), "{mpi}: {text}");
    }
}

#[test]
fn the_library_of_another_mpi_than_the_launchers_is_refused() {
    let all = installations();
    for launcher in &all {
        for library in all
            .iter()
            .filter(|o| o.is_open_mpi() != launcher.is_open_mpi())
        {
            let mixed = launcher.with_library_of(library);
            let (_, text) = launch(&mixed, 2, "open");
            // MPICH's library ends the process itself under Open MPI's launcher.
            assert!(!text.contains("world of"), "{launcher}, {library}: {text}");
            if library.is_open_mpi() {
                assert!(
                    text.contains("MPI connects 1 of 2 processes (PMI_SIZE)"),
                    "{launcher}, {library}: {text}"
                );
            }
        }
    }
}

#[test]
fn unusable_libraries_are_errors() {
    let open = |path: &str| {
        let settings = MpiSettings::default().with_library(Some(path.into()));
        Mpi::open(&settings).unwrap_err().to_string()
    };
    let missing = open("/no/such/libmpi.so");
    assert!(
        missing.starts_with("cannot use the MPI library /no/such/libmpi.so: cannot open"),
        "{missing}"
    );
    let other = open("libm.so.6");
    assert!(
        other.ends_with("without the symbols of a known MPI"),
        "{other}"
    );
}
