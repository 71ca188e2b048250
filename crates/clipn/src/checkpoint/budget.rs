//! How much memory one file may make us take.

/// What may be taken whatever the file's size: room for the objects of any real checkpoint's pickle.
const FLOOR: usize = 64 << 20;

/// Memory a file may still cause to be taken: `FLOOR` and twice its own size in all, not counting the spare room of
/// growing vectors. Parsed objects, inflated zip entries and copies of tensors that are not contiguous draw on it;
/// bytes borrowed from the file are free.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
}

/// The budget is used up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) fn for_file(len: usize) -> Budget {
        Budget { left: len.saturating_mul(2).saturating_add(FLOOR) }
    }

    /// Takes `bytes` off the budget, or nothing when there are not so many left.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.left = self.left.checked_sub(bytes).ok_or(Exhausted)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_too_large_leaves_the_budget_as_it_was() {
        let mut budget = Budget::for_file(10);
        assert_eq!(budget.charge(FLOOR + 21), Err(Exhausted));
        assert_eq!(budget.charge(FLOOR + 20), Ok(()));
        assert_eq!(budget.charge(1), Err(Exhausted));
        assert_eq!(Budget::for_file(usize::MAX).charge(usize::MAX), Ok(()));
    }
}
