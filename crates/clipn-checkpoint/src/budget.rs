//! How much memory one file may make us take.

/// What may be taken whatever the file's size: room for the objects of any real checkpoint's pickle.
const FLOOR: usize = 16 << 20;

/// How much more memory than its items a vector takes while it grows: what it had, and twice as much.
const GROWING: usize = 3;

/// Memory a file may still cause to be taken: `FLOOR` and twice its own size in all, from its first byte to the named
/// tensors. Parsed objects, inflated zip entries and copies of tensors that are not contiguous draw on it; bytes
/// borrowed from the file are free.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
}

/// The budget is used up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) fn for_file(len: usize) -> Budget {
        Budget {
            left: len.saturating_mul(2).saturating_add(FLOOR),
        }
    }

    /// Takes `bytes` off the budget, or nothing when there are not so many left.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.left = self.left.checked_sub(bytes).ok_or(Exhausted)?;
        Ok(())
    }

    /// Takes off what items of so many bytes cost in a vector that grows item by item.
    pub(crate) fn charge_growing(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.charge(bytes.saturating_mul(GROWING))
    }

    /// What is left of two files' budgets.
    pub(crate) fn and(&self, other: &Budget) -> Budget {
        Budget {
            left: self.left.saturating_add(other.left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_too_large_leaves_the_budget_as_it_was() {
        let mut budget = Budget::for_file(10);
        assert_eq!(budget.charge(FLOOR + 21), Err(Exhausted));
        assert_eq!(budget.charge_growing(FLOOR / 3 + 8), Err(Exhausted));
        assert_eq!(budget.charge(FLOOR + 20), Ok(()));
        assert_eq!(budget.charge(1), Err(Exhausted));
        assert_eq!(Budget::for_file(usize::MAX).charge(usize::MAX), Ok(()));
    }
}
