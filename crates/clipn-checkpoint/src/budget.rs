//! Limit on the memory that reading one file may allocate.

/// Allowance in bytes that does not depend on the file size: room for the objects of any real
/// checkpoint's pickle.
const BASE_ALLOWANCE: usize = 16 << 20;

/// Peak memory of a growing vector relative to its items: the old allocation, and a new one of
/// twice its size.
const GROWTH_FACTOR: usize = 3;

/// Memory in bytes that one file may still allocate. The whole budget is `BASE_ALLOWANCE` plus
/// twice the file size, from the first byte to the named tensors. Parsed objects, inflated zip
/// entries and copies of non-contiguous tensors are charged; bytes borrowed from the file are free.
#[derive(Debug)]
pub(crate) struct Budget {
    remaining: usize,
}

/// Error of a charge that exceeds the remaining budget.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) fn for_file(len: usize) -> Budget {
        Budget {
            remaining: len.saturating_mul(2).saturating_add(BASE_ALLOWANCE),
        }
    }

    /// Returns the part of a budget that depends on the file size.
    pub(crate) fn of_size(len: usize) -> Budget {
        Budget {
            remaining: len.saturating_mul(2),
        }
    }

    /// Deducts `bytes`, or leaves the budget unchanged if fewer remain.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.remaining = self.remaining.checked_sub(bytes).ok_or(Exhausted)?;
        Ok(())
    }

    /// Deducts the cost of `bytes` of items in a vector that grows item by item.
    pub(crate) fn charge_growing(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.charge(bytes.saturating_mul(GROWTH_FACTOR))
    }

    /// Returns the sum of two files' remaining budgets.
    pub(crate) fn merged_with(&self, other: &Budget) -> Budget {
        Budget {
            remaining: self.remaining.saturating_add(other.remaining),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_above_the_budget_changes_nothing() {
        let mut budget = Budget::for_file(10);
        assert_eq!(budget.charge(BASE_ALLOWANCE + 21), Err(Exhausted));
        assert_eq!(
            budget.charge_growing(BASE_ALLOWANCE / 3 + 8),
            Err(Exhausted)
        );
        assert_eq!(budget.charge(BASE_ALLOWANCE + 20), Ok(()));
        assert_eq!(budget.charge(1), Err(Exhausted));
        assert_eq!(Budget::for_file(usize::MAX).charge(usize::MAX), Ok(()));
    }
}
