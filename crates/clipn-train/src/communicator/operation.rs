//! Collective operations as values, to check that all ranks call the same one.

use std::fmt;

use super::CommunicatorError;

/// Name of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OperationKind {
    AllGather,
    AllGatherBytes,
    AllGatherShares,
    AllReduceSum,
    ReduceScatterSum,
    Broadcast,
}

impl OperationKind {
    const ALL: [Self; 6] = [
        Self::AllGather,
        Self::AllGatherBytes,
        Self::AllGatherShares,
        Self::AllReduceSum,
        Self::ReduceScatterSum,
        Self::Broadcast,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::AllGather => "all_gather",
            Self::AllGatherBytes => "all_gather_bytes",
            Self::AllGatherShares => "all_gather_shares",
            Self::AllReduceSum => "all_reduce_sum",
            Self::ReduceScatterSum => "reduce_scatter_sum",
            Self::Broadcast => "broadcast",
        }
    }
}

/// An operation that a rank called. Operations of one round must be equal, except for the length of
/// a gather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) kind: OperationKind,
    pub(super) root: usize,
    pub(super) element_size: usize,
    /// Number of values.
    pub(super) length: usize,
}

impl Operation {
    /// Creates an operation on `length` values of type `T`.
    pub(super) fn new<T>(kind: OperationKind, root: usize, length: usize) -> Self {
        Self {
            kind,
            root,
            element_size: size_of::<T>(),
            length,
        }
    }

    /// Number of words of [`encode`](Self::encode).
    pub(super) const WORDS: usize = 4;

    /// Encodes the operation, to send it to other ranks.
    pub(super) fn encode(self) -> [u64; Self::WORDS] {
        let kind = OperationKind::ALL
            .iter()
            .position(|&kind| kind == self.kind);
        [
            kind.unwrap_or_default() as u64,
            self.root as u64,
            self.element_size as u64,
            self.length as u64,
        ]
    }

    /// Decodes what [`encode`](Self::encode) returned on another rank.
    pub(super) fn decode([kind, root, element_size, length]: [u64; Self::WORDS]) -> Self {
        let kind = OperationKind::ALL.get(kind as usize);
        Self {
            kind: kind.copied().unwrap_or(OperationKind::AllGather),
            root: root as usize,
            element_size: element_size as usize,
            length: length as usize,
        }
    }

    /// Returns whether ranks may have different lengths.
    fn is_gather(self) -> bool {
        matches!(
            self.kind,
            OperationKind::AllGather | OperationKind::AllGatherBytes
        )
    }

    fn matches(self, other: Self) -> bool {
        let length = if self.is_gather() {
            self.length
        } else {
            other.length
        };
        self == Self { length, ..other }
    }

    /// Checks that all ranks called the same operation. Every rank sees the same operations, so all
    /// return the same error.
    pub(super) fn check_same(
        operations: impl IntoIterator<Item = Self>,
    ) -> Result<(), CommunicatorError> {
        let mut operations = operations.into_iter().enumerate();
        let Some((_, first)) = operations.next() else {
            return Ok(());
        };
        match operations.find(|(_, operation)| !operation.matches(first)) {
            None => Ok(()),
            Some((rank, found)) => Err(CommunicatorError::MismatchedOperations {
                rank,
                found: found.to_string(),
                expected: first.to_string(),
            }),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from rank {}", self.kind.name(), self.root)?;
        if !self.is_gather() {
            write!(f, " of {} values", self.length)?;
        }
        write!(f, " of {} bytes each", self.element_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_survive_encoding() {
        for kind in OperationKind::ALL {
            let operation = Operation::new::<f64>(kind, 3, 1 << 40);
            assert_eq!(Operation::decode(operation.encode()), operation);
        }
    }

    #[test]
    fn only_gathers_may_differ_in_length() {
        let of = |kind, length| Operation::new::<f32>(kind, 0, length);
        let gathers = [1, 2].map(|length| of(OperationKind::AllGather, length));
        assert_eq!(Operation::check_same(gathers), Ok(()));
        let sums = [1, 2].map(|length| of(OperationKind::AllReduceSum, length));
        let error = Operation::check_same(sums).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mismatched collective operations: expected all_reduce_sum from rank 0 of 1 values of 4 \
             bytes each as on rank 0, got all_reduce_sum from rank 0 of 2 values of 4 bytes each on \
             rank 1"
        );
    }
}
